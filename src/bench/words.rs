//! What it costs to say a message of a template, in this process: neither a service nor a store takes part.

use std::hint::black_box;
use std::time::Instant;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use tidings_domain::recipient::{Locale, TimeZone};
use tidings_domain::template::{ArgumentType, Version};

use super::BenchError;
use super::report::Figure;
use crate::render::{Compiled, Part, Reader};

/// A name for the table, what is said, the arguments that it declares, and their values.
type Message = (&'static str, &'static str, &'static [(&'static str, ArgumentType)], Value);

#[derive(Args, Clone)]
pub struct Words {
    /// How often each of the messages is said
    #[arg(long, default_value_t = 200_000)]
    times: u32,
}

impl Words {
    pub fn terms(&self) -> String {
        format!("{} times each, title alone, in German as Austrians write it", self.times)
    }

    pub fn run(&self, progress: &ProgressBar) -> Result<Vec<Figure>, BenchError> {
        use ArgumentType::{Date, Number, String};
        let messages: [Message; 4] = [
            ("no argument", "Ihre Rechnung ist da", &[], json!({})),
            (
                "two strings",
                "{ $who } hat { $what } kommentiert",
                &[("who", String), ("what", String)],
                json!({"who": "Ada", "what": "den Bericht"}),
            ),
            (
                "a plural with its number",
                "{ $n ->\n    [one] Eine Rechnung\n   *[other] { $n } Rechnungen\n}",
                &[("n", Number)],
                json!({"n": 1_200}),
            ),
            (
                "a date",
                "F\u{e4}llig am { DATETIME($due, dateStyle: \"long\") }",
                &[("due", Date)],
                json!({"due": "2026-08-03T22:30:00Z"}),
            ),
        ];
        progress.set_length(messages.len() as u64);
        messages
            .into_iter()
            .map(|(name, message, arguments, given)| {
                let version = version(message, arguments)?;
                let compiled = Compiled::new(version).map_err(|_| BenchError::Words)?;
                let took = self.say(&compiled, given.as_object().unwrap_or(&Map::new()))?;
                progress.inc(1);
                Ok(Figure::new(name, took * 1e6, "\u{b5}s"))
            })
            .collect()
    }

    /// Seconds for one.
    fn say(&self, compiled: &Compiled, arguments: &Map<String, Value>) -> Result<f64, BenchError> {
        let (locale, time_zone) = (locale("de-AT")?, TimeZone::new("Europe/Vienna".into()));
        let time_zone = time_zone.map_err(|_| BenchError::Words)?;
        let reader = Reader { locale: Some(&locale), time_zone: Some(&time_zone) };
        let began = Instant::now();
        for _ in 0..self.times {
            let said = compiled.render(reader, black_box(arguments), &[Part::Title]);
            black_box(said.map_err(|_| BenchError::Words)?);
        }
        Ok(began.elapsed().as_secs_f64() / f64::from(self.times))
    }
}

fn version(message: &str, arguments: &[(&str, ArgumentType)]) -> Result<Version, BenchError> {
    Ok(Version {
        default_locale: locale("de")?,
        sources: [(locale("de")?, format!("title = {message}\n"))].into(),
        arguments: arguments.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
    })
}

fn locale(text: &str) -> Result<Locale, BenchError> {
    Locale::new(text.into()).map_err(|_| BenchError::Words)
}
