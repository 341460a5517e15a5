//! Numbers and instants as the reader writes them: digits, separators and the order of a date by CLDR (ICU4X), the hour by
//! the reader's own clock.

use std::borrow::Cow;

use fixed_decimal::{SignedRoundingMode, UnsignedRoundingMode};
use fluent_bundle::types::{FluentNumber, FluentType};
use fluent_bundle::{FluentArgs, FluentValue};
use icu_datetime::DateTimeFormatter;
use icu_datetime::fieldsets::enums::{
    CompositeDateTimeFieldSet, DateAndTimeFieldSet, DateFieldSet, TimeFieldSet,
};
use icu_datetime::fieldsets::{T, YMD, YMDE};
use icu_datetime::input::{Date, DateTime, Time};
use icu_decimal::DecimalFormatter;
use icu_decimal::input::Decimal;
use icu_decimal::options::{DecimalFormatterOptions, GroupingStrategy};
use icu_locale_core::Locale;
use intl_memoizer::{Memoizable, concurrent};
use jiff::Zoned;
use unic_langid::LanguageIdentifier;

/// Digits after the point where a template does not say how many.
const FRACTION_DIGITS_MAX: i16 = 3;

/// Formats numbers; all else is left to Fluent.
pub fn number(value: &FluentValue<'_>, intls: &concurrent::IntlLangMemoizer) -> Option<String> {
    let FluentValue::Number(number) = value else { return None };
    let grouping = number.options.use_grouping;
    let decimal = decimal(number)?;
    intls.with_try_get::<Numbers, _, _>((grouping,), |numbers| numbers.0.format(&decimal).to_string()).ok()
}

/// Rounded half away from zero, as people do.
pub fn decimal(number: &FluentNumber) -> Option<Decimal> {
    let digits = |digits: Option<usize>| digits.and_then(|digits| i16::try_from(digits).ok());
    let (least, most) =
        (digits(number.options.minimum_fraction_digits), digits(number.options.maximum_fraction_digits));
    let most = most.unwrap_or_else(|| FRACTION_DIGITS_MAX.max(least.unwrap_or(0)));
    let mut decimal: Decimal = match whole(number.value) {
        Some(whole) => whole.into(),
        // Its display never has an exponent.
        None => number.value.to_string().parse().ok()?,
    };
    decimal.round_with_mode(-most, SignedRoundingMode::Unsigned(UnsignedRoundingMode::HalfExpand));
    decimal.absolute.trim_end();
    decimal.absolute.pad_end(-least.unwrap_or(0));
    if let Some(integer) = digits(number.options.minimum_integer_digits) {
        decimal.absolute.pad_start(integer);
    }
    Some(decimal)
}

/// Most numbers are, and need no digits to be read. A zero below nothing has its sign.
fn whole(value: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let is_whole =
        value.fract() == 0.0 && value.abs() <= EXACT_MAX && !(value == 0.0 && value.is_sign_negative());
    is_whole.then_some(value as i64)
}

struct Numbers(DecimalFormatter);

impl Memoizable for Numbers {
    /// Whether digits are grouped.
    type Args = (bool,);
    type Error = ();

    fn construct(language: LanguageIdentifier, (grouped,): (bool,)) -> Result<Self, ()> {
        let mut options = DecimalFormatterOptions::default();
        options.grouping_strategy =
            Some(if grouped { GroupingStrategy::Auto } else { GroupingStrategy::Never });
        DecimalFormatter::try_new(locale(&language).into(), options).map(Self).map_err(drop)
    }
}

pub fn locale(language: &LanguageIdentifier) -> Locale {
    Locale::try_from_str(&language.to_string()).unwrap_or(Locale::UNKNOWN)
}

/// How much of an instant is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Length {
    None,
    Short,
    Medium,
    Long,
    /// With the day of the week.
    Full,
}

impl Length {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "short" => Some(Self::Short),
            "medium" => Some(Self::Medium),
            "long" => Some(Self::Long),
            "full" => Some(Self::Full),
            _ => None,
        }
    }
}

/// An instant on the reader's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    at: Zoned,
    date: Length,
    time: Length,
}

impl Moment {
    /// Shown as a date alone, until a template asks for more.
    pub fn new(at: Zoned) -> Self {
        Self { at, date: Length::Medium, time: Length::None }
    }

    /// With `dateStyle` (`none`, `short`, `medium`, `long` or `full`) and `timeStyle` (`none`, `short` or `medium`).
    pub fn styled(&self, named: &FluentArgs) -> Self {
        let style = |name: &str| match named.get(name) {
            Some(FluentValue::String(text)) => Length::parse(text),
            _ => None,
        };
        let (date, time) = (style("dateStyle"), style("timeStyle"));
        let date = date.unwrap_or(if time.is_some() { Length::None } else { self.date });
        Self { at: self.at.clone(), date, time: time.unwrap_or(self.time) }
    }

    fn write(&self, moments: &Moments) -> Option<String> {
        let part = |number: i8| u8::try_from(number).ok();
        let date = Date::try_new_iso(i32::from(self.at.year()), part(self.at.month())?, part(self.at.day())?);
        let time = Time::try_new(part(self.at.hour())?, part(self.at.minute())?, part(self.at.second())?, 0);
        Some(moments.0.format(&DateTime { date: date.ok()?, time: time.ok()? }).to_string())
    }
}

impl FluentType for Moment {
    fn duplicate(&self) -> Box<dyn FluentType + Send> {
        Box::new(self.clone())
    }

    fn as_string(&self, intls: &intl_memoizer::IntlLangMemoizer) -> Cow<'static, str> {
        let style = (self.date, self.time);
        let written = intls.with_try_get::<Moments, _, _>(style, |moments| self.write(moments));
        written.ok().flatten().unwrap_or_else(|| self.at.to_string()).into()
    }

    fn as_string_threadsafe(&self, intls: &concurrent::IntlLangMemoizer) -> Cow<'static, str> {
        let style = (self.date, self.time);
        let written = intls.with_try_get::<Moments, _, _>(style, |moments| self.write(moments));
        written.ok().flatten().unwrap_or_else(|| self.at.to_string()).into()
    }
}

struct Moments(DateTimeFormatter<CompositeDateTimeFieldSet>);

impl Memoizable for Moments {
    type Args = (Length, Length);
    type Error = ();

    fn construct(language: LanguageIdentifier, (date, time): (Length, Length)) -> Result<Self, ()> {
        let fields = fields(date, time);
        DateTimeFormatter::try_new(locale(&language).into(), fields).map(Self).map_err(drop)
    }
}

fn fields(date: Length, time: Length) -> CompositeDateTimeFieldSet {
    let ymd = match date {
        Length::None => {
            let clock = if time == Length::Short { T::hm() } else { T::hms() };
            return CompositeDateTimeFieldSet::Time(TimeFieldSet::T(clock));
        }
        Length::Short => YMD::short(),
        Length::Medium => YMD::medium(),
        Length::Long => YMD::long(),
        Length::Full => return full(time),
    };
    match time {
        Length::None => CompositeDateTimeFieldSet::Date(DateFieldSet::YMD(ymd)),
        Length::Short => CompositeDateTimeFieldSet::DateTime(DateAndTimeFieldSet::YMDT(ymd.with_time_hm())),
        Length::Medium | Length::Long | Length::Full => {
            CompositeDateTimeFieldSet::DateTime(DateAndTimeFieldSet::YMDT(ymd.with_time_hms()))
        }
    }
}

/// A date with its day of the week.
fn full(time: Length) -> CompositeDateTimeFieldSet {
    let ymde = YMDE::long();
    match time {
        Length::None => CompositeDateTimeFieldSet::Date(DateFieldSet::YMDE(ymde)),
        Length::Short => CompositeDateTimeFieldSet::DateTime(DateAndTimeFieldSet::YMDET(ymde.with_time_hm())),
        Length::Medium | Length::Long | Length::Full => {
            CompositeDateTimeFieldSet::DateTime(DateAndTimeFieldSet::YMDET(ymde.with_time_hms()))
        }
    }
}
