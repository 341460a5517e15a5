//! Logs: to standard error, as text or JSON. Standard output belongs to what was asked for.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::LogFormat;

/// Libraries that print what they carry, which is what people are told and shown to nobody else.
const TOLD_TOO_MUCH: [&str; 2] = ["tungstenite=info", "tokio_tungstenite=info"];

/// Starts logging. A second call, as in tests of one process, leaves the first in place.
pub fn start(format: LogFormat, level: &str) -> Result<(), ParseError> {
    let mut filter = EnvFilter::try_new(level)?;
    for quiet in TOLD_TOO_MUCH {
        filter = filter.add_directive(quiet.parse()?);
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Only the first subscriber of a process can be installed.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
    };
    Ok(())
}

/// Something that goes wrong again and again while it lasts: said once when it begins, and once when it is over.
#[derive(Debug, Default)]
pub struct Trouble {
    lasts: bool,
}

impl Trouble {
    /// True the first time.
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.lasts, true)
    }

    /// True if it had begun.
    pub fn ends(&mut self) -> bool {
        std::mem::take(&mut self.lasts)
    }
}

/// Something that goes wrong for many at a time: one of them is told every ten seconds, with how many there were.
#[derive(Debug, Default)]
pub struct Repeated {
    state: Mutex<(u64, Option<Instant>)>,
}

/// How often one is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

impl Repeated {
    /// How many there were since the last that was told, where it is time to tell.
    pub fn count(&self) -> Option<u64> {
        let mut state = self.state.lock().expect("no code panics while it counts");
        let (count, told) = &mut *state;
        *count += 1;
        if told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return None;
        }
        *told = Some(Instant::now());
        Some(std::mem::take(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_again_and_again_is_said_once_and_once_that_it_is_over() {
        let mut trouble = Trouble::default();
        assert!(!trouble.ends());
        for _ in 0..2 {
            assert_eq!([trouble.begins(), trouble.begins(), trouble.begins()], [true, false, false]);
            assert_eq!([trouble.ends(), trouble.ends()], [true, false]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_wrong_for_many_is_told_now_and_then_with_their_number() {
        let repeated = Repeated::default();
        assert_eq!([repeated.count(), repeated.count(), repeated.count()], [Some(1), None, None]);
        tokio::time::advance(TELL_EVERY).await;
        assert_eq!([repeated.count(), repeated.count()], [Some(3), None]);
    }
}
