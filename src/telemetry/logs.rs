//! Logs: to standard error, as text or JSON. Standard output belongs to what was asked for.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::LogFormat;

/// Starts logging. A second call, as in tests of one process, leaves the first in place.
pub fn start(format: LogFormat, level: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Only the first subscriber of a process can be installed.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
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
}
