//! What the machine allows, and what this process takes.

use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

/// Files of the program itself, with room.
const OWN_FILES: u64 = 256;
/// Files that a bench's folder keeps open: segment, marks and the state's.
const FILES_OF_A_FOLDER: u64 = 6;

/// Why the machine does not allow it.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Too few open files.
    #[error(
        "{benches} benches need {needed} open files and the hard limit is {allowed}; raise it (LimitNOFILE of a unit, or /etc/security/limits.conf), or take fewer benches"
    )]
    OpenFiles {
        /// Benches wanted.
        benches: usize,
        /// Open files for them.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// The system does not say or take a limit.
    #[error("the limit of open files can't be set")]
    System(#[from] nix::Error),
}

/// Raises the limit of open files for so many benches.
///
/// # Errors
/// When the hard limit is too low.
pub fn raise_open_files(benches: usize, proxy: bool, folders: bool) -> Result<(), LimitError> {
    let each = 1 + if proxy { 2 } else { 0 } + if folders { FILES_OF_A_FOLDER } else { 0 };
    let needed = (benches as u64).saturating_mul(each).saturating_add(OWN_FILES);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(LimitError::OpenFiles {
            benches,
            needed,
            allowed: hard,
        });
    }
    Ok(setrlimit(Resource::RLIMIT_NOFILE, needed, hard)?)
}

/// What this process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Memory now.
    pub(crate) resident_bytes: u64,
    /// The most memory so far.
    pub(crate) most_bytes: u64,
}

impl Usage {
    /// As the kernel says; zeros where it does not.
    pub(crate) fn now() -> Self {
        let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
            return Self::default();
        };
        let time = |of: nix::sys::time::TimeVal| {
            let micros = u32::try_from(of.tv_usec()).unwrap_or(0);
            Duration::new(u64::try_from(of.tv_sec()).unwrap_or(0), micros * 1000)
        };
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let resident = pages
            .split_whitespace()
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok());
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
        let page = page
            .ok()
            .flatten()
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(4096);
        Self {
            cpu: time(usage.user_time()) + time(usage.system_time()),
            resident_bytes: resident.unwrap_or(0) * page,
            most_bytes: u64::try_from(usage.max_rss()).unwrap_or(0) * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_benches_than_the_machine_allows_are_refused_with_both_numbers() {
        let error = raise_open_files(usize::MAX / 2, true, false).expect_err("no machine allows that");
        assert!(matches!(error, LimitError::OpenFiles { .. }), "{error}");
        assert!(error.to_string().contains("LimitNOFILE"), "{error}");
        raise_open_files(10, false, true).expect("a few benches");
    }

    #[test]
    fn what_this_process_uses_is_known() {
        let usage = Usage::now();
        assert!(usage.resident_bytes > 1024 * 1024 && usage.most_bytes >= usage.resident_bytes / 2);
    }
}
