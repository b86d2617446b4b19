//! The sequence of an attempt.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use uds::{Request, Response};

use super::connect::protocol_of_the_caller;
use super::desk::Desk;
use super::step::Log;
use super::stop::Trouble;
use super::{Command, Event, Mode};
use crate::plan::{Action, Inputs, Plan, Step};
use crate::report::{DtcEntry, EcuIdentity, FinalOutcome};

/// Time for the first connection, and for one during the clean-up.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// Time for a connection after a loss: the control unit may have to start.
const RECONNECT: Duration = Duration::from_secs(20);
/// Longest single wait, so that a cancellation is seen.
const NAP: Duration = Duration::from_millis(500);

/// What is held or switched off and has to be given back.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is given back by itself")]
pub(super) struct Held {
    pub(super) comm: bool,
    pub(super) dtc: bool,
    pub(super) functional: bool,
    pub(super) session: bool,
    pub(super) actuated: Vec<u16>,
}

/// How the work ended.
pub(super) struct End {
    pub(super) trouble: Option<Trouble>,
    pub(super) in_precondition: bool,
}

/// State of one attempt.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts that the verdict is made of"
)]
pub(super) struct Script {
    pub(super) desk: Desk,
    pub(super) plan: Arc<Plan>,
    pub(super) inputs: Inputs,
    pub(super) connected: bool,
    /// A write may have reached the control unit.
    pub(super) wrote: bool,
    /// Something was written that the verification has not read back yet.
    pub(super) unverified: bool,
    pub(super) past: bool,
    pub(super) held: Held,
    /// The first missed check of a step whose plan says to go on.
    pub(super) missed: Option<String>,
    pub(super) restarts: u32,
    pub(super) restarts_of: BTreeMap<usize, u32>,
    pub(super) pending: u32,
    /// Longest time of response pending for the running step.
    pub(super) pending_total: Duration,
    /// Place of the running step among all that are reported.
    pub(super) place: u32,
    pub(super) begun: Duration,
    pub(super) before: Option<EcuIdentity>,
    pub(super) dtcs_before: Option<Vec<DtcEntry>>,
}

impl Script {
    pub(super) fn new(desk: Desk, plan: Arc<Plan>, inputs: Inputs) -> Self {
        Self {
            pending_total: plan.budget.pending_total,
            desk,
            plan,
            inputs,
            connected: false,
            wrote: false,
            unverified: false,
            past: false,
            held: Held::default(),
            missed: None,
            restarts: 0,
            restarts_of: BTreeMap::new(),
            pending: 0,
            place: 0,
            begun: Duration::ZERO,
            before: None,
            dtcs_before: None,
        }
    }

    pub(super) async fn run(mut self, mode: Mode) -> FinalOutcome {
        self.begun = self.desk.now();
        // What an earlier process did is unknown here: it may have written.
        self.wrote = mode != Mode::Run;
        self.unverified = self.wrote;
        let end = match mode {
            Mode::Run => self.work().await,
            Mode::VerifyOnly => self.verify_only().await,
            Mode::Inspect => End {
                trouble: self.identification().await.err(),
                in_precondition: false,
            },
        };
        if mode == Mode::Inspect {
            return self.conclude_inspection(&end);
        }
        self.conclude(end).await
    }

    async fn work(&mut self) -> End {
        let plan = Arc::clone(&self.plan);
        if let Err(trouble) = self.identification().await {
            return End {
                trouble: Some(trouble),
                in_precondition: false,
            };
        }
        self.place = 1;
        for step in &plan.preconditions {
            if let Err(trouble) = self.step(step, None).await {
                return End {
                    trouble: Some(trouble),
                    in_precondition: true,
                };
            }
            self.place += 1;
        }
        let first = self.place;
        let mut index = 0;
        while let Some(step) = plan.steps.get(index) {
            self.place = first.saturating_add(u32::try_from(index).unwrap_or(u32::MAX));
            match self.step(step, Some(index)).await {
                Ok(()) => index += 1,
                Err(lost @ Trouble::LinkLost(_)) => match self.restart(index, step, lost).await {
                    Ok(from) => index = from,
                    Err(trouble) => {
                        return End {
                            trouble: Some(trouble),
                            in_precondition: false,
                        };
                    }
                },
                Err(trouble) => {
                    return End {
                        trouble: Some(trouble),
                        in_precondition: false,
                    };
                }
            }
        }
        self.place = first.saturating_add(u32::try_from(plan.steps.len()).unwrap_or(u32::MAX));
        End {
            trouble: self.verification().await.err(),
            in_precondition: false,
        }
    }

    async fn verify_only(&mut self) -> End {
        if let Err(trouble) = self.identification().await {
            return End {
                trouble: Some(trouble),
                in_precondition: false,
            };
        }
        let before = self.plan.preconditions.len() + self.plan.steps.len() + 1;
        self.place = u32::try_from(before).unwrap_or(u32::MAX);
        End {
            trouble: self.verification().await.err(),
            in_precondition: false,
        }
    }

    /// Step 0: connect, compare, note what is there.
    async fn identification(&mut self) -> Result<(), Trouble> {
        let started = self.desk.now();
        let result = self.identify_once().await;
        let log = Log {
            detail: result.as_ref().err().map(Trouble::detail),
            ..Log::default()
        };
        self.report(
            "identify",
            "Connect and compare VIN, part and hardware",
            started,
            result.as_ref().err(),
            log,
        );
        result
    }

    async fn identify_once(&mut self) -> Result<(), Trouble> {
        let identity = self.connect(CONNECT).await?;
        let older = self.refuse_older(identity.software.as_deref());
        self.before = Some(identity);
        self.dtcs_before = self.read_dtcs(0xFF).await?;
        // After a restart of the agent the work is done, and there is nothing to refuse.
        if self.wrote { Ok(()) } else { older }
    }

    /// No way back to an older version, unless the procedure says so. A control unit without software, or versions
    /// that are no dotted numbers, cannot be compared and are let through.
    fn refuse_older(&self, installed: Option<&str>) -> Result<(), Trouble> {
        for step in &self.plan.steps {
            let Action::Download {
                artifact,
                allow_older: false,
                ..
            } = &step.action
            else {
                continue;
            };
            let version = self
                .inputs
                .artifacts
                .get(artifact)
                .map(|artifact| artifact.version.as_str());
            if let (Some(version), Some(installed)) = (version, installed)
                && is_older(version, installed)
            {
                return Err(Trouble::Wrong {
                    reason: "older_version",
                    detail: format!(
                        "version {version} of `{artifact}` is older than {installed}, which is installed"
                    ),
                });
            }
        }
        Ok(())
    }

    async fn verification(&mut self) -> Result<(), Trouble> {
        let plan = Arc::clone(&self.plan);
        for step in &plan.verify {
            self.step(step, None).await?;
            self.place += 1;
        }
        if !plan.verify.is_empty() {
            self.unverified = false;
        }
        Ok(())
    }

    /// After a lost connection: the place where the work begins again, on a new connection whose vehicle was
    /// compared. A download never goes on where it stopped.
    async fn restart(&mut self, index: usize, step: &Step, lost: Trouble) -> Result<usize, Trouble> {
        let Some(restart) = step.on_link_loss else {
            return Err(lost);
        };
        let count = self.restarts_of.entry(index).or_default();
        if *count >= restart.max {
            return Err(Trouble::LinkLost(format!(
                "{}; begun again {count} times already, which is the limit",
                lost.detail()
            )));
        }
        *count += 1;
        self.restarts += 1;
        self.connect(RECONNECT).await?;
        Ok(restart.from)
    }

    pub(super) fn hold_session(&mut self, functional: bool) {
        self.held.session = true;
        self.held.functional |= functional;
    }

    pub(super) fn hold_quiet(&mut self, dtc: bool, comm: bool, functional: bool) {
        self.held.dtc |= dtc;
        self.held.comm |= comm;
        self.held.functional |= functional;
    }

    pub(super) fn hold_output(&mut self, did: u16) {
        if !self.held.actuated.contains(&did) {
            self.held.actuated.push(did);
        }
    }

    /// Waits; a cancellation ends the wait early before the point of no return.
    pub(super) async fn sleep(&mut self, duration: Duration) {
        let end = self.desk.now().saturating_add(duration);
        while self.desk.now() < end {
            if self.desk.is_canceled() && !self.past {
                return;
            }
            let until = end.min(self.desk.now().saturating_add(NAP));
            self.desk.ask(Command::Sleep { until }).await;
        }
    }

    pub(super) async fn request(&mut self, request: Request) -> Result<Option<Response>, Trouble> {
        self.request_to(request, false).await
    }

    pub(super) async fn request_to(
        &mut self,
        request: Request,
        functional: bool,
    ) -> Result<Option<Response>, Trouble> {
        let pending_total = self.pending_total;
        match self
            .desk
            .ask(Command::Send {
                request,
                functional,
                pending_total,
            })
            .await
        {
            Event::Answered(Ok(completion)) => {
                self.pending = self.pending.saturating_add(completion.pending);
                Ok(completion.response)
            }
            Event::Answered(Err(failure)) => {
                let trouble = Trouble::from(failure);
                if matches!(trouble, Trouble::LinkLost(_)) {
                    self.connected = false;
                }
                Err(trouble)
            }
            _ => Err(protocol_of_the_caller()),
        }
    }
}

fn is_older(version: &str, installed: &str) -> bool {
    let numbers = |text: &str| {
        text.split('.')
            .map(|part| part.parse().ok())
            .collect::<Option<Vec<u64>>>()
    };
    match (numbers(version), numbers(installed)) {
        (Some(version), Some(installed)) => version < installed,
        _ => false,
    }
}
