//! Carries out what the engine wants.

use std::time::Duration;

use fleet_domain::error_chain;
use procedure::{Command, Effect, Engine, Event, FinalOutcome, Inputs, Mode, Plan};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::link::{Address, Link};
use super::report::{FinalReport, FinishedStep, Report};
use super::signer::{Signer, Subject};
use super::{Attempt, VehicleConfig, artifact_notes};
use crate::journal::{Journal, JournalError};

/// Runs an attempt to its end. The final report is durable in the journal when this returns; if the journal could
/// not take it, the verdict says what it says and the fault is logged: the caller's spool still gets it.
///
/// `cancel` becoming true asks for an end; it is heard before the point of no return only. `reports` should be
/// drained: step reports wait for room, progress is left out.
///
/// Not cancel-safe: a dropped future leaves the control unit as it is, and the journal for [`super::recover`].
pub async fn run(
    attempt: Attempt,
    reports: mpsc::Sender<Report>,
    cancel: watch::Receiver<bool>,
) -> FinalReport {
    let Attempt {
        job_id,
        plan,
        inputs,
        vehicle,
        signer,
        journal,
    } = attempt;
    let steps_total = plan.steps_total();
    // A reader that has gone does not stop the work on the vehicle.
    let _ = reports.send(Report::Started { steps_total }).await;
    let mut performer = Performer {
        link: None,
        seed_not_before: None,
        address: address(&plan, vehicle),
        origin: Instant::now(),
        signer: Some(signer),
        journal: Some(journal),
        reports: Some(reports),
        cancel,
        cancel_told: false,
        steps: Vec::new(),
        steps_total,
        job_id: job_id.to_string(),
        ecu: plan.target.ecu.clone(),
        vin: inputs.vin.clone(),
    };
    let engine = Engine::new(plan.clone(), inputs.clone(), Mode::Run);
    let outcome = performer.drive(engine).await;
    let artifacts = artifact_notes(&inputs);
    let report = FinalReport::of(
        outcome,
        &plan,
        &inputs,
        artifacts,
        core::mem::take(&mut performer.steps),
    );
    performer.finish(&report).await;
    report
}

/// Reads a control unit without any write; used after a restart of the agent.
pub(super) async fn read_only(
    plan: &std::sync::Arc<Plan>,
    inputs: &Inputs,
    vehicle: VehicleConfig,
    mode: Mode,
) -> (FinalOutcome, Vec<FinishedStep>) {
    let (_keep, cancel) = watch::channel(false);
    let mut performer = Performer {
        link: None,
        seed_not_before: None,
        address: address(plan, vehicle),
        origin: Instant::now(),
        signer: None,
        journal: None,
        reports: None,
        cancel,
        cancel_told: false,
        steps: Vec::new(),
        steps_total: plan.steps_total(),
        job_id: inputs.job_id.clone(),
        ecu: plan.target.ecu.clone(),
        vin: inputs.vin.clone(),
    };
    let outcome = performer
        .drive(Engine::new(plan.clone(), inputs.clone(), mode))
        .await;
    (outcome, performer.steps)
}

fn address(plan: &Plan, vehicle: VehicleConfig) -> Address {
    Address {
        vehicle,
        physical: plan.target.la,
        functional: plan.target.functional,
    }
}

struct Performer {
    link: Option<Link>,
    seed_not_before: Option<Duration>,
    address: Address,
    origin: Instant,
    signer: Option<Signer>,
    journal: Option<Journal>,
    reports: Option<mpsc::Sender<Report>>,
    cancel: watch::Receiver<bool>,
    cancel_told: bool,
    steps: Vec<FinishedStep>,
    steps_total: u32,
    job_id: String,
    ecu: String,
    vin: String,
}

impl Performer {
    async fn drive(&mut self, mut engine: Engine) -> FinalOutcome {
        let mut effects = engine.start(self.origin.elapsed());
        loop {
            let mut wanted = None;
            for effect in effects {
                match effect {
                    Effect::Do(command) => wanted = Some(command),
                    Effect::Finished(outcome) => {
                        self.close().await;
                        return *outcome;
                    }
                    other => self.tell(other).await,
                }
            }
            let event = match wanted {
                Some(command) => self.perform(command).await,
                // The engine always wants something until it has finished.
                None => Event::Woke,
            };
            if *self.cancel.borrow() && !self.cancel_told {
                self.cancel_told = true;
                engine.handle(Event::Cancel, self.origin.elapsed());
            }
            effects = engine.handle(event, self.origin.elapsed());
        }
    }

    async fn tell(&mut self, effect: Effect) {
        let report = match effect {
            Effect::Step(step) => {
                let ago = self.origin.elapsed().saturating_sub(step.finished);
                let step = FinishedStep::of(*step, fleet_clock::wall_now(), ago);
                self.steps.push(step.clone());
                Report::Step(step)
            }
            Effect::Progress(progress) => {
                if progress.bytes_total > 0 && progress.bytes_done.saturating_mul(2) >= progress.bytes_total {
                    crate::failpoints::mid_flash();
                }
                let report = Report::Progress {
                    step: progress.step,
                    step_index: progress.step_index,
                    steps_total: self.steps_total,
                    bytes_done: progress.bytes_done,
                    bytes_total: progress.bytes_total,
                };
                if let Some(reports) = &self.reports {
                    // Progress is worth nothing later.
                    let _ = reports.try_send(report);
                }
                return;
            }
            Effect::PastPointOfNoReturn => Report::PastPointOfNoReturn,
            Effect::Do(_) | Effect::Finished(_) => return,
        };
        if let Some(reports) = &self.reports {
            // A reader that has gone does not stop the work on the vehicle.
            let reports = reports.clone();
            let _ = self.keep(async move { reports.send(report).await }).await;
        }
    }

    async fn perform(&mut self, command: Command) -> Event {
        match command {
            Command::Connect { within } => self.connect(within).await,
            Command::Send {
                request,
                functional,
                pending_total,
            } => {
                let answer = match &mut self.link {
                    Some(link) => link.send(request, functional, pending_total).await,
                    None => Err(procedure::Failure::NotConnected),
                };
                Event::Answered(answer)
            }
            Command::AskKey { level, seed } => Event::Key(self.ask_key(level, seed).await),
            Command::JournalIntent(intent) => self.journal(move |journal| journal.intent(&intent)).await,
            Command::JournalConfirmed(intent) => {
                self.journal(move |journal| journal.confirmed(&intent)).await
            }
            Command::Sleep { until } => {
                let at = self.origin.checked_add(until).unwrap_or_else(Instant::now);
                let mut cancel = self.cancel.clone();
                let told = self.cancel_told;
                self.keep(async move {
                    tokio::select! {
                        () = sleep_until(at) => {}
                        // A sender that has gone cannot cancel any more.
                        Ok(_) = cancel.wait_for(|wanted| *wanted), if !told => {}
                    }
                })
                .await;
                Event::Woke
            }
        }
    }

    async fn connect(&mut self, within: Duration) -> Event {
        self.close().await;
        match Link::connect(self.address, self.origin, within, self.seed_not_before).await {
            Ok((link, announced_vin)) => {
                self.link = Some(link);
                Event::Connected { announced_vin }
            }
            Err(detail) => Event::NotConnected { detail },
        }
    }

    async fn close(&mut self) {
        if let Some(link) = self.link.take() {
            self.seed_not_before = link.seed_not_before();
            link.close().await;
        }
    }

    async fn ask_key(&mut self, level: u8, seed: Vec<u8>) -> Result<Vec<u8>, procedure::SignerError> {
        let Some(signer) = self.signer.clone() else {
            return Err(procedure::SignerError {
                detail: "nothing is unlocked while reading only".to_owned(),
            });
        };
        let (ecu, vin, job_id) = (self.ecu.clone(), self.vin.clone(), self.job_id.clone());
        self.keep(async move {
            let subject = Subject {
                ecu: &ecu,
                vin: &vin,
                job_id: &job_id,
            };
            signer.key(subject, level, seed).await
        })
        .await
    }

    /// Writes to the journal beside the runtime, for an fsync may take long; the session is kept meanwhile.
    async fn journal(
        &mut self,
        write: impl FnOnce(&mut Journal) -> Result<(), JournalError> + Send + 'static,
    ) -> Event {
        let Some(mut journal) = self.journal.take() else {
            return Event::Journaled(Err("there is no journal: nothing may be written".to_owned()));
        };
        let written = tokio::task::spawn_blocking(move || {
            let result = write(&mut journal);
            (journal, result)
        });
        match self.keep(written).await {
            Ok((journal, result)) => {
                self.journal = Some(journal);
                Event::Journaled(result.map_err(|error| error_chain(&error)))
            }
            Err(error) => Event::Journaled(Err(error.to_string())),
        }
    }

    async fn keep<T>(&mut self, other: impl Future<Output = T>) -> T {
        match &mut self.link {
            Some(link) if !link.is_closed() => link.keep_while(other).await,
            _ => other.await,
        }
    }

    async fn finish(&mut self, report: &FinalReport) {
        let report = report.clone();
        if let Event::Journaled(Err(error)) = self.journal(move |journal| journal.finished(&report)).await {
            tracing::error!(job.id = %self.job_id, error, "runner.write_journal failed for a final report");
        }
    }
}
