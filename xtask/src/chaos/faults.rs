//! Carries out a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use super::jobs::Jobs;
use super::plan::{Act, LinkFault, Step, Target};
use super::restore;
use super::settle::Standing;
use super::stand::Stand;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Kills by kind of component.
    pub(super) kills: BTreeMap<&'static str, u64>,
    /// All acts by kind.
    pub(super) acts: BTreeMap<&'static str, u64>,
    /// Acts done.
    pub(super) steps: usize,
}

/// A plan under way.
pub(super) struct Chaos<'a> {
    pub(super) stand: &'a mut Stand,
    pub(super) jobs: &'a Jobs,
    pub(super) done: Done,
    begun: Instant,
    /// How much later than planned everything comes: putting something back takes its time.
    late: Duration,
    kept: restore::Kept,
    /// Events in Kafka when the backup was made.
    in_kafka: u64,
}

/// Begin or end of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at_ms: u64,
    ends: bool,
    step: usize,
}

impl<'a> Chaos<'a> {
    pub(super) fn new(stand: &'a mut Stand, jobs: &'a Jobs) -> Self {
        Self {
            stand,
            jobs,
            done: Done::default(),
            begun: Instant::now(),
            late: Duration::ZERO,
            kept: restore::Kept::default(),
            in_kafka: 0,
        }
    }

    /// Does everything in its order. What takes longer than planned moves everything after it.
    pub(super) async fn carry_out(&mut self, plan: &[Step]) -> anyhow::Result<()> {
        let mut due: BTreeSet<_> = plan
            .iter()
            .enumerate()
            .map(|(step, of)| Due {
                at_ms: of.at_ms,
                ends: false,
                step,
            })
            .collect();
        while let Some(next) = due.pop_first() {
            let Some(step) = plan.get(next.step) else { continue };
            self.until(Duration::from_millis(next.at_ms)).await?;
            if next.ends {
                self.end(&step.act)
                    .await
                    .with_context(|| format!("after: {step}"))?;
                continue;
            }
            self.say(&step.act, step.for_ms);
            self.begin(&step.act)
                .await
                .with_context(|| format!("at: {step}"))?;
            self.note(&step.act)?;
            if step.for_ms > 0 {
                due.insert(Due {
                    at_ms: next.at_ms + step.for_ms,
                    ends: true,
                    step: next.step,
                });
            }
        }
        Ok(())
    }

    async fn until(&mut self, planned: Duration) -> anyhow::Result<()> {
        loop {
            self.stand.check()?;
            let left = (planned + self.late).saturating_sub(self.begun.elapsed());
            if left.is_zero() {
                self.late = self.begun.elapsed().saturating_sub(planned);
                return Ok(());
            }
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
    }

    fn say(&self, act: &Act, for_ms: u64) {
        let standing = Standing::of(self.stand);
        let lasts = match for_ms {
            0 => String::new(),
            ms => format!(", for {}.{} s", ms / 1000, ms % 1000 / 100),
        };
        println!(
            "{:>7.1} s  {:<58} {standing}",
            self.begun.elapsed().as_secs_f64(),
            format!("{act}{lasts}"),
        );
    }

    async fn begin(&mut self, act: &Act) -> anyhow::Result<()> {
        match act {
            Act::Kill(target) => self.stand.kill(*target)?,
            Act::Freeze(target) => self.stand.freeze(*target, true)?,
            Act::Link(link, fault) => self.stand.link(*link, Some(*fault))?,
            Act::DiskFull(disk) => self.stand.disk(*disk, true)?,
            Act::Backup => {
                self.whole().await?;
                self.in_kafka = restore::backup(self.stand).await?;
            }
            Act::RestoreDatabase(declared) => {
                self.whole().await?;
                restore::until_relayed(self.stand, self.in_kafka).await?;
                restore::database(self.stand, *declared).await?;
            }
            Act::Image(of) => {
                self.whole().await?;
                self.kept.image(self.stand, *of).await?;
            }
            Act::RestoreDisk(of) => {
                self.whole().await?;
                self.kept.restore(self.stand, *of).await?;
            }
        }
        self.jobs.use_servers(self.stand.urls());
        Ok(())
    }

    async fn end(&mut self, act: &Act) -> anyhow::Result<()> {
        match act {
            Act::Kill(target) => self.stand.start_one(*target).await?,
            Act::Freeze(target) => self.stand.freeze(*target, false)?,
            Act::Link(link, _) => self.stand.link(*link, None)?,
            Act::DiskFull(disk) => self.stand.disk(*disk, false)?,
            Act::Backup | Act::RestoreDatabase(_) | Act::Image(_) | Act::RestoreDisk(_) => {}
        }
        self.jobs.use_servers(self.stand.urls());
        Ok(())
    }

    /// Nothing else is broken while something is put back.
    async fn whole(&mut self) -> anyhow::Result<()> {
        self.stand.heal().await?;
        restore::until_healthy(self.stand).await
    }

    fn note(&mut self, act: &Act) -> anyhow::Result<()> {
        self.done.steps += 1;
        *self.done.acts.entry(act.kind()).or_default() += 1;
        if let Act::Kill(Target(kind, _)) = act {
            *self.done.kills.entry(kind.name()).or_default() += 1;
        }
        let line = json!({
            "at_ms": u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            "fault": act.to_string(),
            "removed": self.kept.take_removed(),
        });
        let path = self.stand.history.join("faults.jsonl");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.with_context(|| format!("cannot open {}", path.display()))?;
        std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).context("cannot write")
    }

    /// Ends what is still broken.
    pub(super) async fn heal(&mut self) -> anyhow::Result<()> {
        self.stand.heal().await?;
        // Half-open connections that nobody has noticed yet.
        for link in self.stand.links() {
            self.stand.link(link, Some(LinkFault::Reset))?;
        }
        self.jobs.use_servers(self.stand.urls());
        Ok(())
    }
}
