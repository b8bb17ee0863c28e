//! `owner.log`: what the owner process has to say; nobody is watching it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use mlp_model::Timestamp;

use crate::clock::Clock;

/// A log that has grown to this begins afresh; the old one is kept once.
const MAX_LOG_BYTES: u64 = 1 << 20;

pub(crate) struct Log {
    file: Option<File>,
    clock: Arc<dyn Clock>,
}

impl Log {
    /// Opens the log. Without space or rights for it, the owner works all the same.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Self {
        if fs::metadata(path).is_ok_and(|found| found.len() > MAX_LOG_BYTES) {
            _ = fs::rename(path, path.with_extension("log.old"));
        }
        Self { file: OpenOptions::new().append(true).create(true).mode(0o600).open(path).ok(), clock }
    }

    pub fn write(&self, text: &str) {
        if let Some(mut file) = self.file.as_ref() {
            let line = format!("{} owner {}: {text}\n", to_text(self.clock.now()), std::process::id());
            _ = file.write_all(line.as_bytes());
        }
    }
}

/// Writes an instant as `2026-11-22T09:03:00Z`.
fn to_text(at: Timestamp) -> String {
    let seconds = at.0.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, in eras of 400 years; months are counted from March.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_in_utc() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_795_338_180_000, "2026-11-22T09:03:00Z"),
            (-1000, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(to_text(Timestamp(at)), text);
        }
    }
}
