//! The read models of this binary, by name: where they stand, and how operators rebuild and redrive them.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use sqlx::{PgExecutor, PgPool};
use tidings_projections::delivery::Delivery;
use tidings_projections::inbox::Inbox;
use tidings_projections::processor::Activity;
use tidings_projections::rebuild::{self, Page, RebuildError, Report, Site};
use tidings_projections::redrive::{Redriven, redrive};
use tidings_projections::status::{Standing, standing};
use tidings_projections::subscribers::Subscribers;
use tidings_projections::timers::Timers;
use tokio::sync::{mpsc, watch};
use tracing::Instrument;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    Inbox,
    Timers,
    Delivery,
    Subscribers,
}

impl Name {
    pub const ALL: &'static [Self] = &[Self::Inbox, Self::Timers, Self::Delivery, Self::Subscribers];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Timers => "timers",
            Self::Delivery => "delivery",
            Self::Subscribers => "subscribers",
        }
    }

    pub async fn standing(self, executor: impl PgExecutor<'_>) -> Result<Standing, sqlx::Error> {
        match self {
            Self::Inbox => standing::<Inbox>(executor).await,
            Self::Timers => standing::<Timers>(executor).await,
            Self::Delivery => standing::<Delivery>(executor).await,
            Self::Subscribers => standing::<Subscribers>(executor).await,
        }
    }

    async fn rebuild(self, site: &Site, pages: mpsc::Receiver<Page>) -> Result<Report, RebuildError> {
        match self {
            Self::Inbox => rebuild::rebuild::<Inbox>(site, pages).await,
            Self::Timers => rebuild::rebuild::<Timers>(site, pages).await,
            Self::Delivery => rebuild::rebuild::<Delivery>(site, pages).await,
            Self::Subscribers => rebuild::rebuild::<Subscribers>(site, pages).await,
        }
    }

    async fn redrive(self, site: &Site) -> Result<Redriven, RebuildError> {
        match self {
            Self::Inbox => redrive::<Inbox>(site).await,
            Self::Timers => redrive::<Timers>(site).await,
            Self::Delivery => redrive::<Delivery>(site).await,
            Self::Subscribers => redrive::<Subscribers>(site).await,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no read model of this name")]
pub struct UnknownName;

impl FromStr for Name {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.iter().copied().find(|name| name.as_str() == text).ok_or(UnknownName)
    }
}

/// Rebuilds several at once, which read the log together; the reports are in the order of the names.
pub async fn rebuild(site: &Site, names: &[Name]) -> Vec<Result<Report, RebuildError>> {
    let pages = rebuild::read_for(site, names.len());
    let rebuilds = names.iter().zip(pages).map(|(name, pages)| name.rebuild(site, pages));
    futures_util::future::join_all(rebuilds).await
}

/// What a read model is doing on this node.
pub struct Watched {
    pub name: Name,
    pub activity: watch::Receiver<Activity>,
}

/// The read models of a running node.
#[derive(Clone)]
pub struct ReadModels {
    site: Site,
    pool: PgPool,
    watched: Arc<Vec<Watched>>,
    /// Those that this node rebuilds.
    rebuilding: Arc<Mutex<HashSet<Name>>>,
}

/// How one read model stands, in the log and on this node.
pub struct Overview {
    pub name: Name,
    pub standing: Standing,
    pub activity: Activity,
}

/// What a read model is doing, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Following,
    Rebuilding,
    /// At an event this binary does not know.
    Halted,
    Failing,
}

impl State {
    pub fn of(activity: &Activity, rebuilding: bool) -> Self {
        match activity {
            Activity::Halted(_) => Self::Halted,
            Activity::Failing(_) => Self::Failing,
            Activity::Following if rebuilding => Self::Rebuilding,
            Activity::Following => Self::Following,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Following => "following",
            Self::Rebuilding => "rebuilding",
            Self::Halted => "halted",
            Self::Failing => "failing",
        }
    }
}

impl Overview {
    pub fn state(&self) -> &'static str {
        State::of(&self.activity, self.standing.rebuilding).as_str()
    }

    /// Why it does not follow.
    pub fn trouble(&self) -> Option<&str> {
        match &self.activity {
            Activity::Following => None,
            Activity::Halted(why) | Activity::Failing(why) => Some(why),
        }
    }
}

impl ReadModels {
    pub fn new(site: Site, pool: PgPool, watched: Vec<Watched>) -> Self {
        Self { site, pool, watched: Arc::new(watched), rebuilding: Arc::default() }
    }

    /// What this node does with each; asks nobody.
    pub fn activities(&self) -> impl Iterator<Item = (Name, Activity)> {
        self.watched.iter().map(|watched| (watched.name, watched.activity.borrow().clone()))
    }

    pub async fn overview(&self) -> Result<Vec<Overview>, sqlx::Error> {
        let mut overviews = Vec::with_capacity(self.watched.len());
        for Watched { name, activity } in &*self.watched {
            let activity = activity.borrow().clone();
            overviews.push(Overview { name: *name, standing: name.standing(&self.pool).await?, activity });
        }
        Ok(overviews)
    }

    /// Begins a rebuild in the background; false where this node has begun one already.
    pub fn begin_rebuild(&self, name: Name) -> bool {
        if !self.lock().insert(name) {
            return false;
        }
        let models = self.clone();
        tokio::spawn(async move {
            for report in rebuild(&models.site, &[name]).await {
                match report {
                    Ok(Report { events, differences, .. }) => {
                        let differing_rows = differences.len();
                        tracing::info!(%name, events, differing_rows, "the read model was rebuilt");
                    }
                    Err(error) => tracing::error!(%name, %error, "the read model was not rebuilt"),
                }
            }
            models.lock().remove(&name);
        });
        true
    }

    pub async fn redrive(&self, name: Name) -> Result<Redriven, RebuildError> {
        let (site, name) = (self.site.clone(), name);
        // A caller that hangs up must not leave a transaction half done.
        let redriving = tokio::spawn(async move { name.redrive(&site).await }.in_current_span());
        redriving.await.unwrap_or(Err(RebuildError::Disturbed))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Name>> {
        self.rebuilding.lock().expect("no code panics while it holds the set")
    }
}
