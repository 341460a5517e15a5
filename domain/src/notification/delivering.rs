//! Decisions about deliveries: whose turn it is, whether an attempt may begin, and what follows from how it ended.
//!
//! Each event is folded before the next is decided, so a decision never sees a state that its own events have left.

use time::OffsetDateTime;

use super::{
    Channel, DeferReason, Delivery, DeliveryStatus, Error, Event, Failure, FailureClass, Life, Notification,
};
use super::{Jitter, Outcome, PlanStep, SkipReason, Unless};

impl Notification {
    /// The turn of a step has come by time, unless it came before.
    pub(super) fn activate(&self, channel: Channel, at: OffsetDateTime) -> Vec<Event> {
        let waits = |d: &Delivery| d.status == DeliveryStatus::Waiting && d.due_at == Some(at);
        match self.step_of(channel) {
            Some(step) if self.life == Life::Released && waits(&self.deliveries[step]) => {
                let mut decision = Decision::from(self);
                decision.take_turn(step, at);
                decision.skip_needless();
                decision.events
            }
            _ => vec![],
        }
    }

    /// A worker is about to call. Whoever began before has lost the attempt once its deadline has passed: that attempt
    /// failed, and the next one may begin if there is one.
    pub(super) fn start(
        &self,
        channel: Channel,
        attempt: u32,
        now: OffsetDateTime,
        deadline: OffsetDateTime,
    ) -> Result<Vec<Event>, Error> {
        let (_, lost) = self.next(channel, attempt, now)?;
        let started = Event::DeliveryStarted { channel, attempt, deadline };
        Ok(lost.into_iter().chain([started]).collect())
    }

    /// The same, but that nobody calls before `until`. What expires first is not sent at all.
    pub(super) fn defer(
        &self,
        (channel, attempt): (Channel, u32),
        (now, until): (OffsetDateTime, OffsetDateTime),
        reason: DeferReason,
    ) -> Result<Vec<Event>, Error> {
        let (step, lost) = self.next(channel, attempt, now)?;
        let mut decision = Decision::from(self);
        lost.into_iter().for_each(|lost| decision.emit(lost));
        if self.expires_at.is_some_and(|expires_at| expires_at <= until) {
            decision.skip(step, reason.of_the_late());
            decision.hand_on(step, now);
        } else {
            decision.emit(Event::DeliveryDeferred { channel, attempt, due_at: until, reason });
        }
        Ok(decision.events)
    }

    /// The step of which `attempt` may begin now, and what is to be said before of an attempt that was lost.
    fn next(
        &self,
        channel: Channel,
        attempt: u32,
        now: OffsetDateTime,
    ) -> Result<(usize, Option<Event>), Error> {
        self.check_released()?;
        if self.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(Error::Expired);
        }
        let step = self.step_of(channel).ok_or(Error::ChannelNotPlanned)?;
        if !channel.calls_outside() {
            return Err(Error::NothingToCall);
        }
        let delivery = &self.deliveries[step];
        let lost = match (delivery.status, delivery.deadline) {
            (DeliveryStatus::Waiting, _) => return Err(Error::NotActivated),
            (DeliveryStatus::Pending | DeliveryStatus::Scheduled, _) => None,
            (DeliveryStatus::Started, until) => Some(delivery.attempt).filter(|_| until <= Some(now)),
            (status, _) => return Err(Error::AttemptEnded { status }),
        };
        let next = lost.map_or(delivery.attempt, |lost| lost + 1);
        if attempt != next {
            return Err(Error::StaleAttempt { current: next });
        }
        if lost.is_none() && delivery.status == DeliveryStatus::Started {
            return Err(Error::AlreadyStarted);
        }
        if delivery.due_at.is_some_and(|due_at| due_at > now) {
            return Err(Error::NotDue);
        }
        let Some(lost) = lost else { return Ok((step, None)) };
        self.check_not_stopped(step)?;
        if !self.plan[step].retry.is_some_and(|policy| policy.has_attempt_after(lost)) {
            return Err(Error::NoAttemptLeft);
        }
        Ok((step, Some(Event::DeliveryFailed { channel, attempt: lost, error: Failure::lost() })))
    }

    /// The outcome of the current attempt. One that is under way still ends after its notification.
    pub(super) fn deliver(
        &self,
        channel: Channel,
        attempt: Option<u32>,
        outcome: &Outcome,
        at: OffsetDateTime,
    ) -> Result<Vec<Event>, Error> {
        use DeliveryStatus::{
            DeadLettered, Delivered, Exhausted, Pending, Scheduled, Skipped, Started, Waiting,
        };
        let step = self.step_of(channel);
        if step.is_none_or(|step| self.deliveries[step].status != Started) {
            self.check_released()?;
        }
        let step = step.ok_or(Error::ChannelNotPlanned)?;
        let delivery = &self.deliveries[step];
        if attempt.is_some_and(|attempt| attempt != delivery.attempt) {
            return Err(Error::StaleAttempt { current: delivery.attempt });
        }
        let mut decision = Decision::from(self);
        match (delivery.status, outcome) {
            (Delivered, Outcome::Delivered { .. })
            | (Exhausted | DeadLettered, Outcome::Failed { .. })
            | (Skipped, Outcome::Skipped { .. }) => {}
            (Waiting, _) => return Err(Error::NotActivated),
            (Pending | Scheduled, Outcome::Delivered { .. } | Outcome::Failed { .. })
                if channel.calls_outside() =>
            {
                return Err(Error::NotStarted);
            }
            (Pending | Scheduled | Started, Outcome::Delivered { provider_ref }) => {
                decision.succeed(step, provider_ref.clone());
                decision.skip_needless();
            }
            (Pending | Scheduled | Started, Outcome::Failed { failure, retry_after_s, jitter }) => {
                decision.fail(step, failure, (*retry_after_s, *jitter), at);
            }
            (Pending | Scheduled | Started, Outcome::Skipped { reason }) => {
                // Whatever the worker found, by now nobody needs it.
                decision.skip(step, self.stopped(step).unwrap_or(*reason));
                decision.hand_on(step, at);
            }
            (status, _) => return Err(Error::AttemptEnded { status }),
        }
        Ok(decision.events)
    }

    /// One more attempt of what failed for good. What another step took over for is only tried again by name.
    pub(super) fn retry(&self, channel: Option<Channel>) -> Result<Vec<Event>, Error> {
        self.check_released()?;
        if channel.is_some_and(|channel| self.step_of(channel).is_none()) {
            return Err(Error::ChannelNotPlanned);
        }
        let failed = |d: &Delivery| match channel {
            Some(channel) => {
                d.channel == channel
                    && matches!(d.status, DeliveryStatus::DeadLettered | DeliveryStatus::Exhausted)
            }
            None => d.status == DeliveryStatus::DeadLettered,
        };
        let steps = (0..self.deliveries.len()).filter(|step| failed(&self.deliveries[*step]));
        let (mut again, mut refused) = (Vec::new(), Error::NothingToRetry);
        for step in steps {
            let Delivery { channel, attempt, .. } = self.deliveries[step];
            match self.check_not_stopped(step) {
                Ok(()) => again.push(Event::DeliveryRetryRequested { channel, attempt: attempt + 1 }),
                Err(stopped) => refused = stopped,
            }
        }
        if again.is_empty() { Err(refused) } else { Ok(again) }
    }

    fn step_of(&self, channel: Channel) -> Option<usize> {
        self.deliveries.iter().position(|d| d.channel == channel)
    }

    /// Why nothing more may be sent on the step's channel. What the user has seen needs no messenger, but for a step that
    /// insists on its being read.
    fn stopped(&self, step: usize) -> Option<SkipReason> {
        match self.life {
            Life::Cancelled => return Some(SkipReason::Cancelled),
            Life::Expired => return Some(SkipReason::Expired),
            Life::Absent | Life::Scheduled { .. } | Life::Released => {}
        }
        let PlanStep { channel, unless, .. } = &self.plan[step];
        if !channel.calls_outside() {
            None
        } else if self.was_read {
            Some(SkipReason::Read)
        } else {
            (self.seen && *unless != Some(Unless::Read)).then_some(SkipReason::Seen)
        }
    }

    fn check_not_stopped(&self, step: usize) -> Result<(), Error> {
        self.stopped(step).map_or(Ok(()), |reason| Err(Error::Stopped { reason }))
    }
}

/// A decision in the making.
pub(super) struct Decision {
    /// After the events so far.
    state: Notification,
    pub events: Vec<Event>,
}

impl From<&Notification> for Decision {
    fn from(state: &Notification) -> Self {
        Self { state: state.clone(), events: Vec::new() }
    }
}

impl Decision {
    pub fn emit(&mut self, event: Event) {
        self.state.evolve(&event);
        self.events.push(event);
    }

    /// The user has met the notification in the app, so that is where it was delivered.
    pub fn settle_in_app(&mut self) {
        let settled = [DeliveryStatus::Delivered, DeliveryStatus::Skipped];
        let step = self.state.step_of(Channel::InApp);
        if let Some(step) = step.filter(|step| !settled.contains(&self.state.deliveries[*step].status)) {
            self.succeed(step, None);
        }
    }

    /// Skips what has not begun and no longer may.
    pub fn stop(&mut self) {
        for step in 0..self.state.deliveries.len() {
            if self.state.deliveries[step].status.is_unstarted()
                && let Some(reason) = self.state.stopped(step)
            {
                self.skip(step, reason);
            }
        }
    }

    /// Skips steps whose turn can never come: they would only have stood in for one that did not need it.
    pub fn skip_needless(&mut self) {
        for step in 1..self.state.deliveries.len() {
            let [before, delivery] = &self.state.deliveries[step - 1..=step] else { return };
            if delivery.status == DeliveryStatus::Waiting
                && delivery.due_at.is_none()
                && let Some(reason) = before.made_needless()
            {
                self.skip(step, reason);
            }
        }
    }

    fn succeed(&mut self, step: usize, provider_ref: Option<String>) {
        let Delivery { channel, attempt, .. } = self.state.deliveries[step];
        self.emit(Event::DeliverySucceeded { channel, attempt, provider_ref });
    }

    fn skip(&mut self, step: usize, reason: SkipReason) {
        self.emit(Event::DeliverySkipped { channel: self.state.deliveries[step].channel, reason });
    }

    fn fail(
        &mut self,
        step: usize,
        failure: &Failure,
        (retry_after_s, jitter): (Option<u32>, Jitter),
        at: OffsetDateTime,
    ) {
        let Delivery { channel, attempt, .. } = self.state.deliveries[step];
        self.emit(Event::DeliveryFailed { channel, attempt, error: failure.clone() });
        if let Some(reason) = self.state.stopped(step) {
            self.skip(step, reason);
            self.skip_needless();
            return;
        }
        let policy = self.state.plan[step].retry.filter(|_| failure.class == FailureClass::Transient);
        match policy.and_then(|policy| policy.next_at(attempt, at, retry_after_s, jitter)) {
            Some(due_at) => {
                self.emit(Event::DeliveryRetryScheduled { channel, attempt: attempt + 1, due_at });
            }
            None => {
                self.emit(Event::DeliveryExhausted { channel, attempts: attempt });
                self.hand_on(step, at);
            }
        }
    }

    /// A step was exhausted or skipped: the next one takes its place. Where nothing is left that could still deliver,
    /// what failed is dead-lettered; what was only skipped is not.
    fn hand_on(&mut self, step: usize, at: OffsetDateTime) {
        let needless = self.state.deliveries[step].made_needless().is_some();
        if !needless && self.waits(step + 1) {
            self.take_turn(step + 1, at);
        }
        self.skip_needless();
        if needless || self.could_still_deliver() {
            return;
        }
        let exhausted = |d: &Delivery| d.status == DeliveryStatus::Exhausted;
        let failed = match exhausted(&self.state.deliveries[step]) {
            true => Some(step),
            false => self.state.deliveries.iter().rposition(exhausted),
        };
        if let Some(failed) = failed {
            self.emit(Event::DeliveryDeadLettered { channel: self.state.deliveries[failed].channel });
        }
    }

    fn waits(&self, step: usize) -> bool {
        self.state.deliveries.get(step).is_some_and(|d| d.status == DeliveryStatus::Waiting)
    }

    /// It is activated, or needless by now.
    fn take_turn(&mut self, step: usize, at: OffsetDateTime) {
        let [before, delivery] = &self.state.deliveries[step - 1..=step] else { return };
        let (from, channel) = (before.channel, delivery.channel);
        let delivered = self.state.plan[step].unless == Some(Unless::Delivered)
            && before.made_needless() == Some(SkipReason::Delivered);
        match self.state.stopped(step).or(delivered.then_some(SkipReason::Delivered)) {
            Some(reason) => self.skip(step, reason),
            None => self.emit(Event::DeliveryFallbackActivated { from, channel, due_at: at }),
        }
    }

    /// On a channel that is called. That a pending item may yet be looked at in the app is no reason to be silent about
    /// a message that could not be sent.
    fn could_still_deliver(&self) -> bool {
        self.state.deliveries.iter().any(|d| d.channel.calls_outside() && d.status.is_open())
    }
}
