//! Watching jobs until all are finished: bars in a terminal, lines elsewhere.

use std::fmt;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fleet_testkit::Api;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::plan::QueuedJob;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Far beyond what the three jobs take together.
const FINISHED_WITHIN: Duration = Duration::from_mins(5);
/// How long a job may wait for its bench before the reason is looked for.
const PATIENCE: Duration = Duration::from_secs(3);
/// States from which a job does not move any more.
const FINAL: [&str; 6] = [
    "finished",
    "rejected",
    "canceled",
    "timed_out",
    "superseded",
    "taken_over",
];

/// A job at its end.
pub(super) struct Finished {
    title: String,
    job: Value,
}

impl Finished {
    pub(super) fn passed(&self) -> bool {
        self.job["state"] == "finished" && self.job["verdict"] == "passed"
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |key: &str| self.job[key].as_str().unwrap_or("-").to_owned();
        write!(
            f,
            "{} ({}): {}, verdict {}",
            self.title,
            word("id"),
            word("state"),
            word("verdict")
        )?;
        if !self.passed() {
            write!(f, ", reason {}, {}", word("reason_code"), word("detail"))?;
        }
        Ok(())
    }
}

/// One job's line on the screen.
struct Line {
    title: String,
    bar: Option<ProgressBar>,
    last: String,
    start: Instant,
}

impl Line {
    fn new(title: &str, bars: Option<&MultiProgress>) -> Self {
        let bar = bars.map(|bars| {
            let style = ProgressStyle::with_template("  {prefix:<40} [{bar:24}] {pos:>2}/{len:<2} {msg}");
            let bar = bars.add(ProgressBar::new(1));
            bar.set_style(
                style
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("=> "),
            );
            bar.set_prefix(title.to_owned());
            bar
        });
        Self {
            title: title.to_owned(),
            bar,
            last: String::new(),
            start: Instant::now(),
        }
    }

    fn show(&mut self, job: &Value, live: &Value) {
        let count = |value: &Value, key: &str| value[key].as_u64().unwrap_or(0);
        let (done, total) = (count(job, "steps_done"), count(job, "steps_total"));
        let state = job["verdict"]
            .as_str()
            .or_else(|| job["state"].as_str())
            .unwrap_or("unknown");
        let step = live["step"].as_str().unwrap_or_default();
        let device = job["device"].as_str().unwrap_or("no bench yet");
        if let Some(bar) = &self.bar {
            bar.set_length(total.max(1));
            bar.set_position(done);
            let (sent, size) = (count(live, "bytes_done"), count(live, "bytes_total"));
            let bytes = if size > 0 {
                format!(" {sent}/{size} bytes")
            } else {
                String::new()
            };
            bar.set_message(format!("{device} {state} {step}{bytes}"));
        } else {
            let status = format!("{device} {state} {done}/{total}");
            if status != self.last {
                println!(
                    "  {:>6.1} s  {:<40} {status} {step}",
                    self.start.elapsed().as_secs_f32(),
                    self.title
                );
                self.last = status;
            }
        }
    }

    fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

/// Follows all jobs to their end.
///
/// # Errors
/// When the server does not answer, or a job is not finished in time; its state is named.
pub(super) async fn follow(api: &Api, jobs: &[QueuedJob]) -> anyhow::Result<Vec<Finished>> {
    let bars = std::io::stdout().is_terminal().then(MultiProgress::new);
    let mut lines: Vec<_> = jobs
        .iter()
        .map(|job| Line::new(&job.title, bars.as_ref()))
        .collect();
    let start = Instant::now();
    loop {
        let mut seen = Vec::new();
        for (queued, line) in jobs.iter().zip(&mut lines) {
            let (job, live) = look(api, &queued.id).await?;
            line.show(&job, &live);
            if job["state"] == "queued" && start.elapsed() > PATIENCE {
                free_vehicle(api, &queued.vin, bars.as_ref()).await?;
            }
            seen.push(Finished {
                title: queued.title.clone(),
                job,
            });
        }
        let is_final = |seen: &Finished| {
            seen.job["state"]
                .as_str()
                .is_some_and(|state| FINAL.contains(&state))
        };
        if seen.iter().all(is_final) {
            lines.iter().for_each(Line::close);
            return Ok(seen);
        }
        if start.elapsed() > FINISHED_WITHIN {
            let open: Vec<_> = seen
                .iter()
                .filter(|seen| !is_final(seen))
                .map(ToString::to_string)
                .collect();
            let minutes = FINISHED_WITHIN.as_secs() / 60;
            bail!(
                "not finished within {minutes} minutes:\n{}\nnext: the bench's log says what it does",
                open.join("\n")
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Decides what a person would: an earlier job that was cut off left its control unit in doubt and holds the
/// vehicle. It is taken over, said and recorded, because the demo is going to do the work anew.
async fn free_vehicle(api: &Api, vin: &str, bars: Option<&MultiProgress>) -> anyhow::Result<()> {
    let earlier = api
        .get(&format!("/api/v1/jobs?state=finished&vin={vin}&limit=100"))
        .await?;
    let jobs = earlier["items"].as_array().into_iter().flatten();
    for job in jobs.filter(|job| job["verdict"] == "in_doubt") {
        let (id, ecu) = (
            job["id"].as_str().unwrap_or_default(),
            job["ecu"].as_str().unwrap_or_default(),
        );
        let line =
            format!("  an earlier job was cut off and left {ecu} of {vin} in doubt: taking it over ({id})");
        match bars {
            Some(bars) => bars.println(line).context("cannot write to the terminal")?,
            None => println!("{line}"),
        }
        let reason = json!({ "reason": "the demo was started again and does the work anew" });
        api.post(&format!("/api/v1/jobs/{id}/take-over"), &reason).await?;
    }
    Ok(())
}

async fn look(api: &Api, id: &str) -> anyhow::Result<(Value, Value)> {
    let mut run = api.get(&format!("/api/v1/jobs/{id}/run")).await?;
    Ok((run["job"].take(), run["live"].take()))
}
