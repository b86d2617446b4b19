//! CPU time and memory of processes with their children, from `/proc`.

use std::collections::BTreeMap;

/// Unit of the times in `/proc/PID/stat` on Linux, whatever the kernel's own tick is (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_KIB: u64 = 4;

/// The watched processes, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(BTreeMap<&'static str, u32>);

/// What they had used at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage(BTreeMap<&'static str, (f64, u64)>);

struct Stat {
    parent: u32,
    own_ticks: u64,
    waited_ticks: u64,
    resident_kib: u64,
}

impl Watched {
    pub(super) fn add(&mut self, name: &'static str, pid: Option<u32>) {
        if let Some(pid) = pid {
            self.0.insert(name, pid);
        }
    }

    /// CPU seconds and resident KiB of each with all its descendants; those that have ended count for whoever
    /// waited for them.
    pub(super) fn usage(&self) -> Usage {
        let all = stats();
        let of = |root: u32| {
            let mut family = vec![root];
            let mut next = 0;
            while let Some(parent) = family.get(next).copied() {
                family.extend(
                    all.iter()
                        .filter(|(_, stat)| stat.parent == parent)
                        .map(|(pid, _)| *pid),
                );
                next += 1;
            }
            let (mut ticks, mut resident) = (0, 0);
            for stat in family.iter().filter_map(|pid| all.get(pid)) {
                ticks += stat.own_ticks + stat.waited_ticks;
                resident += stat.resident_kib;
            }
            #[expect(clippy::cast_precision_loss, reason = "seconds of CPU")]
            let seconds = ticks as f64 / TICKS_PER_SECOND;
            (seconds, resident)
        };
        Usage(self.0.iter().map(|(name, pid)| (*name, of(*pid))).collect())
    }
}

impl Usage {
    /// CPU seconds of each since an earlier moment.
    pub(super) fn since(&self, before: &Self) -> BTreeMap<&'static str, f64> {
        let used = |(name, (seconds, _)): (&&'static str, &(f64, u64))| {
            let begin = before.0.get(name).map_or(0.0, |(seconds, _)| *seconds);
            (*name, seconds - begin)
        };
        self.0.iter().map(used).collect()
    }

    /// Resident MiB of each. Pages that PostgreSQL's processes share are counted for each of them.
    pub(super) fn resident_mib(&self) -> BTreeMap<&'static str, u64> {
        self.0
            .iter()
            .map(|(name, (_, kib))| (*name, kib / 1024))
            .collect()
    }

    /// Resident KiB of one.
    pub(super) fn resident_kib(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |(_, kib)| *kib)
    }
}

fn stats() -> BTreeMap<u32, Stat> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid
            && let Some(stat) = stat(pid)
        {
            all.insert(pid, stat);
        }
    }
    all
}

/// Fields as in proc(5), counted behind the name, which may hold spaces and brackets.
fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own_ticks: number(11)? + number(12)?,
        waited_ticks: number(13)? + number(14)?,
        resident_kib: number(21)? * PAGE_KIB,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_is_seen_to_work() {
        let mut watched = Watched::default();
        watched.add("self", Some(std::process::id()));
        let before = watched.usage();
        assert!(before.resident_kib("self") > 0);
        let begin = std::time::Instant::now();
        let mut sum = 0_u64;
        while begin.elapsed().as_millis() < 60 {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        assert!(watched.usage().since(&before)["self"] > 0.0, "{sum}");
    }

    #[test]
    fn a_child_that_was_waited_for_still_counts() {
        let mut watched = Watched::default();
        watched.add("self", Some(std::process::id()));
        let before = watched.usage();
        let script = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
        assert!(
            std::process::Command::new("sh")
                .args(["-c", script])
                .status()
                .unwrap()
                .success()
        );
        assert!(watched.usage().since(&before)["self"] > 0.0);
    }
}
