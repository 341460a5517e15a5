//! A metric with one label whose values the code knows: one series per value, found by its number.

use std::marker::PhantomData;
use std::sync::Arc;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge, Registry};

use super::{SOUND, counters, gauges, register};

/// What a label can be. The values are numbered from 0 in the order of `ALL`.
pub trait Label: Copy + 'static {
    /// The label's own name.
    const NAME: &'static str;
    const ALL: &'static [Self];
    fn number(self) -> usize;
    fn value(self) -> &'static str;
}

/// One metric per value of the label.
pub struct Each<L, M> {
    series: Arc<[M]>,
    label: PhantomData<L>,
}

impl<L, M> Clone for Each<L, M> {
    fn clone(&self) -> Self {
        Self { series: self.series.clone(), label: PhantomData }
    }
}

impl<L: Label, M> Each<L, M> {
    pub(super) fn make(make: impl Fn(&'static str) -> M) -> Self {
        debug_assert!(L::ALL.iter().enumerate().all(|(at, label)| label.number() == at));
        Self { series: L::ALL.iter().map(|label| make(label.value())).collect(), label: PhantomData }
    }

    pub fn of(&self, label: L) -> &M {
        &self.series[label.number()]
    }
}

impl<L: Label> Each<L, IntCounter> {
    pub(super) fn counters(registry: &Registry, name: &str, help: &str) -> Self {
        let all = counters(registry, name, help, &[L::NAME]);
        Self::make(|value| all.with_label_values(&[value]))
    }
}

impl<L: Label> Each<L, IntGauge> {
    pub(super) fn gauges(registry: &Registry, name: &str, help: &str) -> Self {
        let all = gauges(registry, name, help, &[L::NAME]);
        Self::make(|value| all.with_label_values(&[value]))
    }

    /// 1 for this value, 0 for all others.
    pub fn only(&self, label: L) {
        self.series.iter().enumerate().for_each(|(at, gauge)| gauge.set(i64::from(at == label.number())));
    }
}

impl<L: Label> Each<L, Histogram> {
    pub(super) fn histograms(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Self {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let all = register(registry, HistogramVec::new(options, &[L::NAME]).expect(SOUND));
        Self::make(|value| all.with_label_values(&[value]))
    }
}
