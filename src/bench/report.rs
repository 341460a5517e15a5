//! What was measured, as a table for people and as JSON for machines.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// One number, with its unit.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    /// As in "/s" or "ms"; empty for a plain count.
    pub unit: &'static str,
}

impl Figure {
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit }
    }

    /// Says of what it is.
    pub fn of(self, what: &str) -> Self {
        Self { name: format!("{what}, {}", self.name), ..self }
    }
}

/// The runs of one measurement; each has the same figures in the same order.
#[derive(Debug, Serialize)]
pub struct Measurement {
    bench: &'static str,
    terms: String,
    runs: Vec<Vec<Figure>>,
    median: Vec<Figure>,
}

impl Measurement {
    pub fn new(bench: &'static str, terms: String) -> Self {
        Self { bench, terms, runs: Vec::new(), median: Vec::new() }
    }

    pub fn add(&mut self, figures: Vec<Figure>) {
        self.runs.push(figures);
        let first = self.runs.first().into_iter().flatten();
        self.median = first
            .enumerate()
            .map(|(index, figure)| Figure { value: median(self.values(index)), ..figure.clone() })
            .collect();
    }

    fn values(&self, index: usize) -> Vec<f64> {
        self.runs.iter().filter_map(|run| Some(run.get(index)?.value)).collect()
    }
}

/// The lower one of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[derive(Debug, Serialize)]
pub struct Report {
    version: &'static str,
    /// A build without optimisation measures nothing.
    optimised: bool,
    os: &'static str,
    cores: usize,
    results: Vec<Measurement>,
}

impl Report {
    pub fn of_this_machine() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            os: std::env::consts::OS,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            results: Vec::new(),
        }
    }

    pub fn add(&mut self, measurement: Measurement) {
        self.results.push(measurement);
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub fn table(&self) -> String {
        let mut text = format!("Tidings {}, {} cores, {}\n", self.version, self.cores, self.os);
        if !self.optimised {
            text.push_str("This build is not optimised: its numbers say nothing. Use a release build.\n");
        }
        for measurement in &self.results {
            let mut table = Table::new();
            table.load_preset(NOTHING);
            table.set_header(["", "median", "", "runs"]);
            for (index, figure) in measurement.median.iter().enumerate() {
                let runs: Vec<String> = measurement.values(index).into_iter().map(shown).collect();
                table.add_row([
                    figure.name.clone(),
                    shown(figure.value),
                    figure.unit.to_owned(),
                    runs.join(" / "),
                ]);
            }
            if let Some(column) = table.column_mut(1) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            text.push_str(&format!("\n{}: {}\n{table}\n", measurement.bench, measurement.terms));
        }
        text
    }
}

/// Large numbers without digits after the point, small ones with two.
fn shown(value: f64) -> String {
    if value.fract() == 0.0 || value >= 1_000.0 {
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    //! Medians, and how numbers look.
    use super::*;

    #[test]
    fn the_median_of_the_runs_is_shown_with_all_of_them() {
        let mut measurement = Measurement::new("post", "2 at a time".into());
        for value in [3.0, 11_268.4, 20_000.0] {
            measurement.add(vec![Figure::new("creates", value, "/s")]);
        }
        let mut report = Report::of_this_machine();
        report.add(measurement);
        let table = report.table();
        assert!(table.contains("11,268") && table.contains("3 / 11,268 / 20,000"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(json["results"][0]["median"][0]["value"], 11_268.4);
    }

    #[test]
    fn numbers_are_grouped_and_small_ones_keep_two_digits() {
        let seen: Vec<String> = [0.0, 7.0, 3.25159, 999.5, 1_000.0, 1_234_567.8].map(shown).to_vec();
        assert_eq!(seen, ["0", "7", "3.25", "999.50", "1,000", "1,234,568"]);
    }
}
