//! Words, plurals, numbers and dates as their readers write them, and what is no template.

use serde_json::{Map, Value, json};
use tidings_domain::recipient::{Locale, TimeZone};
use tidings_domain::template::{ArgumentType, Version};

use super::*;

fn locale(text: &str) -> Locale {
    Locale::new(text.into()).expect("it is one")
}

fn version(sources: &[(&str, &str)], arguments: &[(&str, ArgumentType)]) -> Version {
    let (default, _) = sources.first().expect("the first is the default");
    Version {
        default_locale: locale(default),
        sources: sources.iter().map(|(name, source)| (locale(name), (*source).to_owned())).collect(),
        arguments: arguments.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
    }
}

fn given(value: Value) -> Map<String, Value> {
    value.as_object().expect("arguments are an object").clone()
}

/// The title that a reader of this language sees.
fn title(version: &Version, language: &str, arguments: Value) -> String {
    let compiled = Compiled::new(version.clone()).expect("it is sound");
    let language = locale(language);
    let reader = Reader { locale: Some(&language), time_zone: None };
    compiled.render(reader, &given(arguments), &Part::ALL).expect("it renders").parts[&Part::Title].clone()
}

/// Each flaw as one line.
fn flaws(version: Version) -> Vec<String> {
    let flaws = Compiled::checked(version).err().unwrap_or_default();
    flaws.iter().map(ToString::to_string).collect()
}

#[test]
fn plurals_are_those_of_cldr() {
    let source = |categories: &[&str]| {
        let variants = categories.iter().map(|name| format!("    [{name}] {name}\n")).collect::<String>();
        format!("title = {{ $n ->\n{variants}   *[other] other\n}}\n")
    };
    /// A language, the categories it has beside `other`, and numbers of each.
    type Language = (&'static str, &'static [&'static str], &'static [(f64, &'static str)]);
    let languages: [Language; 5] = [
        ("en", &["one"], &[(0.0, "other"), (1.0, "one"), (2.0, "other"), (1.5, "other")]),
        ("de", &["one"], &[(1.0, "one"), (2.0, "other"), (100.0, "other")]),
        (
            "pl",
            &["one", "few", "many"],
            &[
                (1.0, "one"),
                (2.0, "few"),
                (5.0, "many"),
                (12.0, "many"),
                (22.0, "few"),
                (25.0, "many"),
                (1.5, "other"),
            ],
        ),
        (
            "ar",
            &["zero", "one", "two", "few", "many"],
            &[
                (0.0, "zero"),
                (1.0, "one"),
                (2.0, "two"),
                (3.0, "few"),
                (11.0, "many"),
                (100.0, "other"),
                (103.0, "few"),
            ],
        ),
        ("ja", &[], &[(0.0, "other"), (1.0, "other"), (2.0, "other")]),
    ];
    for (language, categories, cases) in languages {
        let version = version(&[(language, &source(categories))], &[("n", ArgumentType::Number)]);
        for (n, expected) in cases {
            assert_eq!(title(&version, language, json!({"n": n})), *expected, "{language} {n}");
        }
    }
}

#[test]
fn an_exact_number_counts_before_its_category_and_ordinals_have_their_own() {
    let source = "title = { $n ->\n    [0] nothing\n    [one] one\n   *[other] { $n }\n}\n\
                  body = { NUMBER($n, type: \"ordinal\") ->\n    [one] { $n }st\n    [two] { $n }nd\n    [few] { $n }rd\n   *[other] { $n }th\n}\n";
    let compiled =
        Compiled::new(version(&[("en", source)], &[("n", ArgumentType::Number)])).expect("it is sound");
    for (n, title, body) in
        [(0, "nothing", "0th"), (1, "one", "1st"), (2, "2", "2nd"), (23, "23", "23rd"), (11, "11", "11th")]
    {
        let parts = compiled
            .render(Reader::default(), &given(json!({"n": n})), &Part::ALL)
            .expect("it renders")
            .parts;
        assert_eq!((parts[&Part::Title].as_str(), parts[&Part::Body].as_str()), (title, body), "{n}");
    }
    let words = "title = { $who ->\n    [she] hers\n   *[other] theirs\n}\n";
    let version = version(&[("en", words)], &[("who", ArgumentType::String)]);
    assert_eq!(title(&version, "en", json!({"who": "she"})), "hers");
    assert_eq!(title(&version, "en", json!({"who": "he"})), "theirs");
}

#[test]
fn numbers_have_the_digits_and_separators_of_the_language() {
    let number = |language: &str, source: &str, n: f64| {
        title(&version(&[(language, source)], &[("n", ArgumentType::Number)]), language, json!({"n": n}))
    };
    assert_eq!(number("en", "title = { $n }\n", 1_234_567.5), "1,234,567.5");
    assert_eq!(number("de", "title = { $n }\n", 1_234_567.5), "1.234.567,5");
    assert_eq!(number("de", "title = { NUMBER($n, useGrouping: \"false\") }\n", 1_234.0), "1234");
    assert_eq!(number("en", "title = { NUMBER($n, minimumFractionDigits: 2) }\n", 20.0), "20.00");
    assert_eq!(number("en", "title = { NUMBER($n, maximumFractionDigits: 0) }\n", 2.5), "3");
    assert_eq!(number("en", "title = { $n }\n", 0.1 + 0.2), "0.3");
    assert_eq!(number("en", "title = { $n }\n", -0.000_1), "-0");
    // Words of one language, as it is written elsewhere.
    let german =
        version(&[("de", "title = { $n }\n"), ("fr", "title = { $n }\n")], &[("n", ArgumentType::Number)]);
    assert_eq!(title(&german, "de-AT", json!({"n": 1_234.5})), "1\u{a0}234,5");
    assert_eq!(title(&german, "de-CH", json!({"n": 1_234.5})), "1'234.5");
    assert_eq!(title(&german, "en-GB", json!({"n": 1_234.5})), "1.234,5", "all of it is the default's");
    assert_eq!(number("ar-EG", "title = { $n }\n", 12.0), "١٢");
}

#[test]
fn instants_are_on_the_readers_clock_and_in_its_order() {
    let due = "2026-11-22T23:30:00Z";
    let source = "title = { DATETIME($due, dateStyle: \"long\", timeStyle: \"short\") }\nbody = { $due }\n";
    let languages = ["en", "de", "ja"].map(|language| (language, source));
    let compiled = Compiled::new(version(&languages, &[("due", ArgumentType::Date)])).expect("it is sound");
    let said = |language: &str, zone: Option<&str>| {
        let (language, zone) =
            (locale(language), zone.map(|zone| TimeZone::new(zone.into()).expect("it is one")));
        let reader = Reader { locale: Some(&language), time_zone: zone.as_ref() };
        let rendered = compiled.render(reader, &given(json!({"due": due})), &Part::ALL).expect("it renders");
        // White space is CLDR's, and changes with it.
        let plain = |part| rendered.parts[&part].replace(['\u{202f}', '\u{a0}'], " ");
        (plain(Part::Title), plain(Part::Body))
    };
    assert_eq!(said("en", None), ("November 22, 2026 at 11:30 PM".into(), "Nov 22, 2026".into()));
    let full = "title = { DATETIME($due, dateStyle: \"full\") }\nbody = { DATETIME($due, dateStyle: \"full\", timeStyle: \"short\") }\n";
    let full =
        Compiled::checked(version(&[("de", full)], &[("due", ArgumentType::Date)])).expect("it is sound");
    let parts =
        full.render(Reader::default(), &given(json!({"due": due})), &Part::ALL).expect("it renders").parts;
    assert_eq!(parts[&Part::Title], "Sonntag, 22. November 2026");
    assert_eq!(parts[&Part::Body], "Sonntag, 22. November 2026 um 23:30");
    assert_eq!(said("de", Some("Europe/Vienna")), ("23. November 2026 um 00:30".into(), "23.11.2026".into()));
    assert_eq!(said("ja", Some("Asia/Tokyo")), ("2026年11月23日 8:30".into(), "2026/11/23".into()));
}

#[test]
fn the_nearest_language_speaks_and_else_the_default() {
    let version =
        version(&[("en", "title = en\n"), ("de", "title = de\n"), ("zh-Hant", "title = zh-Hant\n")], &[]);
    for (wanted, speaks) in
        [("de-AT", "de"), ("de", "de"), ("en-GB", "en"), ("zh-TW", "zh-Hant"), ("fr", "en")]
    {
        assert_eq!(title(&version, wanted, json!({})), speaks, "{wanted}");
    }
    let compiled = Compiled::new(version).expect("it is sound");
    assert_eq!(compiled.render(Reader::default(), &Map::new(), &Part::ALL).expect("it renders").locale, "en");
}

#[test]
fn scripts_are_told_apart_by_where_they_are_used() {
    let version =
        version(&[("en", "title = en\n"), ("zh-Hans", "title = s\n"), ("zh-Hant", "title = t\n")], &[]);
    for (wanted, speaks) in [("zh-TW", "t"), ("zh-HK", "t"), ("zh-CN", "s"), ("zh", "s"), ("zh-Hant-MY", "t")]
    {
        assert_eq!(title(&version, wanted, json!({})), speaks, "{wanted}");
    }
}

#[test]
fn nobody_writes_otherwise_for_all_the_languages_that_others_have_made_up() {
    let sources = [("en", "title = { $n }\n"), ("de", "title = { $n }\n")];
    let compiled = Compiled::new(version(&sources, &[("n", ArgumentType::Number)])).expect("it is sound");
    let title = |language: &str| {
        let (language, n) = (locale(language), given(json!({"n": 1_234_567.5})));
        let reader = Reader { locale: Some(&language), time_zone: None };
        compiled.render(reader, &n, &Part::IN_APP).expect("it renders").parts[&Part::Title].clone()
    };
    for (one, other) in ('A'..='Z').flat_map(|one| ('A'..='F').map(move |other| (one, other))) {
        title(&format!("en-{one}{other}"));
    }
    assert_eq!((title("de-CH"), title("de")), ("1'234'567.5".into(), "1.234.567,5".into()));
}

#[test]
fn arguments_are_escaped_in_markup_and_nowhere_else() {
    let source = "title = { $name }\nemail-html = <p title=\"{ $name }\">{ $name }</p>\nslack = <https://a.example|{ $name }>\n";
    let compiled =
        Compiled::new(version(&[("en", source)], &[("name", ArgumentType::String)])).expect("it is sound");
    let arguments = given(json!({"name": "<b>\"O'Hara\" & co</b>"}));
    let parts = compiled.render(Reader::default(), &arguments, &Part::ALL).expect("it renders").parts;
    assert_eq!(parts[&Part::Title], "<b>\"O'Hara\" & co</b>");
    let safe = "&lt;b&gt;&quot;O&#39;Hara&quot; &amp; co&lt;/b&gt;";
    assert_eq!(parts[&Part::EmailHtml], format!("<p title=\"{safe}\">{safe}</p>"));
    assert_eq!(parts[&Part::Slack], "<https://a.example|&lt;b&gt;\"O'Hara\" &amp; co&lt;/b&gt;>");
    assert!(!parts.contains_key(&Part::EmailText));
}

#[test]
fn an_argument_is_there_of_its_type_and_known() {
    let arguments =
        [("due", ArgumentType::Date), ("n", ArgumentType::Number), ("name", ArgumentType::String)];
    let compiled = Compiled::new(version(&[("en", "title = { $n } { $name } { $due }\n")], &arguments));
    let compiled = compiled.expect("it is sound");
    let good = json!({"due": "2026-11-22T10:00:00Z", "n": 1, "name": "x"});
    assert!(compiled.render(Reader::default(), &given(good.clone()), &Part::ALL).is_ok());
    let cases = [
        ("name", None, "is missing"),
        ("name", Some(json!(1)), "must be a string"),
        ("n", Some(json!("1")), "must be a number"),
        ("due", Some(json!("tomorrow")), "must be an instant (RFC 3339)"),
        ("due", Some(json!(0)), "must be an instant (RFC 3339)"),
        ("extra", Some(json!("x")), "is no argument of this template"),
    ];
    for (name, value, detail) in cases {
        let mut arguments = given(good.clone());
        match value {
            Some(value) => _ = arguments.insert(name.into(), value),
            None => _ = arguments.remove(name),
        }
        let bad = compiled.render(Reader::default(), &arguments, &Part::ALL).expect_err(name);
        assert_eq!((bad.name.as_str(), bad.detail), (name, detail));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_column_all_of_it() {
    let one = |source: &str| flaws(version(&[("en", source)], &[("n", ArgumentType::Number)]));
    assert!(one("title = { $n }\n").is_empty());
    assert_eq!(one("title = { $n \n").len(), 1);
    assert!(
        one("title = Hi\nbody = { $n \n")[0].starts_with("en:3:1: "),
        "{:?}",
        one("title = Hi\nbody = { $n \n")
    );
    assert_eq!(one("title = Hi { $m }\n"), ["en:1:14: `$m` is no argument of this template"]);
    assert_eq!(one("body = Hi\n"), ["en:1:1: `title` is missing: every template has one"]);
    assert_eq!(
        one("title = { LINK($n) }\n"),
        ["en:1:11: `LINK` is no function: there are NUMBER and DATETIME"]
    );
    assert_eq!(one("title = { -brand }\n"), ["en:1:11: there is no `-brand`"]);
    assert_eq!(one("title = a\ntitle = b\n"), ["en:2:1: `title` is said twice"]);
    assert_eq!(one("title = { body }\nbody = { title }\n").len(), 2);
    assert_eq!(one("title = { -a }\n-a = { -b }\n-b = { -a }\n"), ["en:1:1: `title` contains itself"]);
    let missing = version(&[("en", "title = a\nbody = b\n"), ("de", "title = a\n")], &[]);
    assert_eq!(flaws(missing), ["de:1:1: `body` is missing, which the default locale has"]);
    let both = version(&[("en", "title = { $x }\n"), ("de", "title = { $y }\n")], &[]);
    assert_eq!(flaws(both).len(), 2);
}

#[test]
fn nothing_marks_where_an_argument_begins() {
    let version = version(&[("ar", "title = مرحبا { $name }\n")], &[("name", ArgumentType::String)]);
    assert_eq!(title(&version, "ar", json!({"name": "Ada"})), "مرحبا Ada");
}

#[test]
fn one_version_is_read_by_many_threads() {
    let version = version(&[("de", "title = { $n }\n")], &[("n", ArgumentType::Number)]);
    let compiled = Compiled::new(version).expect("it is sound");
    std::thread::scope(|scope| {
        for n in 0..4_u32 {
            let compiled = &compiled;
            scope.spawn(move || {
                let arguments = given(json!({"n": 1_000 * n}));
                let parts =
                    compiled.render(Reader::default(), &arguments, &Part::ALL).expect("it renders").parts;
                assert_eq!(parts[&Part::Title], if n == 0 { "0".into() } else { format!("{n}.000") });
            });
        }
    });
}

#[test]
fn what_goes_too_deep_or_has_too_many_places_is_refused_before_anybody_follows_it() {
    let one = |source: &str| flaws(version(&[("en", source)], &[]));
    let nested = |depth: usize| format!("title = {}\"x\"{}\n", "{ ".repeat(depth), " }".repeat(depth));
    assert_eq!(one(&nested(16)), Vec::<String>::new());
    let deep = "placeables and calls stand in each other more than 16 deep";
    assert_eq!(one(&nested(17)), [format!("en:1:1: {deep}")]);
    assert_eq!(one(&nested(1_000)), [format!("en:1:1: {deep}")], "there is room to see it");
    let many = "there are more than 1000 brackets";
    for opening in ["{", "{\nNUMBER(", "{ 1 ->\n [a] \" ) } {", "NUMBER(\"}\", "] {
        let bottomless = format!("title = {{ {}\n", opening.repeat(31_000 / opening.len()));
        assert!(one(&bottomless)[0].ends_with(many), "{opening}");
    }

    let many = |places: usize| format!("title = {}\n", "{ \"x\" }".repeat(places));
    assert_eq!(one(&many(100)), Vec::<String>::new());
    assert_eq!(one(&many(101)).len(), 1);
    let links = (b'a'..b'i')
        .map(|link| format!("{} = {}\n", link as char, format!("{{ {} }}", (link + 1) as char).repeat(10)));
    let laughter = format!("title = {{ a }}\n{}i = ha\n", links.collect::<String>());
    assert!(one(&laughter).iter().any(|flaw| flaw.contains("`title` has more than 100 places")));
}

#[test]
fn a_flaw_is_where_the_name_stands_that_it_is_about() {
    let one = |source: &str| flaws(version(&[("en", source)], &[("name", ArgumentType::String)]));
    assert_eq!(one("title = The house\nbody = { h }\n"), ["en:2:10: there is no `h`"]);
    assert_eq!(
        one("# Not $n, which is none.\ntitle = { $names } { $name }\nbody = { $n } { $n }\n"),
        [
            "en:2:11: `$names` is no argument of this template",
            "en:3:10: `$n` is no argument of this template",
            "en:3:17: `$n` is no argument of this template"
        ]
    );
    assert_eq!(
        one("title = { body }\nbody = { title }\n"),
        ["en:1:1: `title` contains itself", "en:2:1: `body` contains itself"]
    );
    assert_eq!(one("title = { h }\nh = { h }\n"), ["en:2:1: `h` contains itself"]);
    assert_eq!(one("title = { title.zz }\n"), ["en:1:11: there is no `title.zz`"]);
    assert_eq!(one("title = { h.zz }\nh = x\n    .zy = y\n"), ["en:1:11: there is no `h.zz`"]);
    assert!(one("title = { title.long } { h.zz }\n    .long = a\nh =\n    .zz = b\n").is_empty());
    assert_eq!(one("\u{feff}title = { $n }\n"), ["en:1:11: `$n` is no argument of this template"]);
    let marked = version(&[("en", "\u{feff}title = Hi\n")], &[]);
    assert_eq!(title(&marked, "en", json!({})), "Hi");
}

#[test]
fn a_term_has_what_is_passed_to_it_and_nothing_else() {
    let arguments = [("n", ArgumentType::Number)];
    let one = |source: &str| flaws(version(&[("en", source)], &arguments));
    let items = "-t = { $n ->\n    [one] one item\n   *[other] { $n } items\n}\n";
    let unseen = "`$n` is not passed to `-t`: a term sees only what is passed to it";
    assert_eq!(one(&format!("title = {{ -t }}\n{items}")), [format!("en:1:11: {unseen}")]);
    assert_eq!(one("title = { -t }\n-t = { h }\nh = { $n }\n"), [format!("en:1:11: {unseen}")]);
    assert_eq!(
        one("title = { -t(n: 1) } { -t }\n-t = { $n ->\n   *[other] x\n}\n"),
        [format!("en:1:24: {unseen}")],
        "it is declared: somebody thinks that it is seen"
    );
    let passed = version(&[("en", &format!("title = {{ -t(n: 2) }}\n{items}"))], &arguments);
    assert_eq!(title(&passed, "en", json!({"n": 1})), "2 items");
    let case =
        "title = { -t } { -t(case: \"of\") }\n-t = { $case ->\n    [of] Tidings'\n   *[other] Tidings\n}\n";
    assert_eq!(title(&version(&[("en", case)], &[]), "en", json!({})), "Tidings Tidings'");
    assert_eq!(
        one("title = { -t(n: 3) }\n-t = { -b } { $n }\n-b = b\n"),
        ["en:2:15: `$n` comes after another term in `-t`, and is not passed on"]
    );
    assert_eq!(
        one("title = { -t(\"x\") }\n-t = x\n"),
        ["en:1:11: `-t` takes arguments by name: `-t(name: \"value\")`"]
    );
    assert_eq!(
        one("title = Hi\n-t = { UPPER(\"x\") }\n"),
        ["en:2:8: `UPPER` is no function: there are NUMBER and DATETIME"]
    );
    assert_eq!(one("title = Hi\n-t = { -b.zz ->\n   *[a] b\n}\n-b = b\n"), ["en:2:8: there is no `-b.zz`"]);
}

#[test]
fn what_was_published_is_read_whatever_is_refused_since() {
    let old = version(&[("en", "title = { -t }\n-t = a{ $n }\n")], &[("n", ArgumentType::Number)]);
    assert_eq!(flaws(old.clone()).len(), 1);
    assert_eq!(title(&old, "en", json!({"n": 1})), "a{$n}");
}

#[test]
fn functions_are_given_what_they_take_and_options_that_there_are() {
    let declared = [("d", ArgumentType::Date), ("n", ArgumentType::Number), ("s", ArgumentType::String)];
    let one = |call: &str| flaws(version(&[("en", &format!("title = {{ {call} }}\n"))], &declared));
    for fine in [
        "NUMBER($n)",
        "NUMBER(3.5, minimumFractionDigits: 2)",
        "NUMBER($n, minimumIntegerDigits: 21, maximumFractionDigits: 20, useGrouping: \"false\", type: \"ordinal\")",
        "DATETIME($d)",
        "DATETIME($d, dateStyle: \"full\", timeStyle: \"medium\")",
        "DATETIME($d, dateStyle: \"none\", timeStyle: \"short\")",
    ] {
        assert_eq!(one(fine), Vec::<String>::new(), "{fine}");
    }
    let number = "en:1:11: `NUMBER` takes one number, an argument or a literal";
    let date = "en:1:11: `DATETIME` takes one date, which is an argument";
    let styles = "must be one of \"none\", \"short\", \"medium\"";
    for (call, told) in [
        ("NUMBER()", number),
        ("NUMBER($n, $n)", number),
        ("NUMBER(\"1\")", number),
        ("NUMBER(NUMBER($n))", number),
        ("DATETIME(\"2026-11-23\")", date),
        ("DATETIME(1)", date),
        ("NUMBER($s)", "en:1:18: `NUMBER` takes a number, and `$s` is a string"),
        ("NUMBER($d)", "en:1:18: `NUMBER` takes a number, and `$d` is a date"),
        ("DATETIME($s)", "en:1:20: `DATETIME` takes a date, and `$s` is a string"),
        (
            "NUMBER($n, style: \"percent\")",
            "en:1:22: `style` is no option of `NUMBER`: there are `minimumIntegerDigits`, `minimumFractionDigits`, `maximumFractionDigits`, `useGrouping`, `type`",
        ),
        (
            "NUMBER($n, minimumIntegerDigits: 0)",
            "en:1:22: `minimumIntegerDigits` must be a whole number from 1 to 21",
        ),
        (
            "NUMBER($n, minimumFractionDigits: 21)",
            "en:1:22: `minimumFractionDigits` must be a whole number from 0 to 20",
        ),
        (
            "NUMBER($n, minimumFractionDigits: 1.5)",
            "en:1:22: `minimumFractionDigits` must be a whole number from 0 to 20",
        ),
        ("NUMBER($n, useGrouping: \"no\")", "en:1:22: `useGrouping` must be one of \"true\", \"false\""),
        (
            "NUMBER($n, minimumFractionDigits: 3, maximumFractionDigits: 2)",
            "en:1:11: `minimumFractionDigits` is above `maximumFractionDigits`",
        ),
        ("DATETIME($d, timeStyle: \"full\")", &format!("en:1:24: `timeStyle` {styles}")),
        ("DATETIME($d, dateStyle: 1)", &format!("en:1:24: `dateStyle` {styles}, \"long\", \"full\"")),
        ("DATETIME($d, dateStyle: \"none\")", "en:1:11: neither the date nor the time is shown"),
        ("DATETIME($d, timeStyle: \"none\")", "en:1:11: neither the date nor the time is shown"),
    ] {
        assert_eq!(one(call), [told], "{call}");
    }
    let of_term = version(&[("en", "title = { -t(n: \"x\") }\n-t = { NUMBER($n) }\n")], &declared);
    assert_eq!(flaws(of_term), ["en:1:11: `NUMBER` takes a number, and `$n` is a string"]);
}

#[test]
fn what_never_comes_true_is_refused() {
    let one = |source: &str| flaws(version(&[("en", source)], &[("n", ArgumentType::Number)]));
    assert_eq!(
        one("title = { $n ->\n    [1.0] x\n    [1.5] x\n    [-1] x\n   *[other] y\n}\n"),
        [
            "en:2:6: `[1.0]` must be whole: it never matches",
            "en:3:6: `[1.5]` must be whole: it never matches"
        ]
    );
    assert_eq!(
        one("title = Hi\naction-url = javascript:alert(1)\n"),
        ["en:2:1: `action-url` must not use a scheme that runs code"]
    );
    assert_eq!(
        one("title = Hi\naction-url =\n    /a\n    /b\n"),
        ["en:2:1: `action-url` must not contain white space or control characters"]
    );
    assert!(one("title = Hi\naction-url = /invoices/{ $n }\n").is_empty());
}
