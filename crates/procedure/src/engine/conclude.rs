//! The end of an attempt: clean-up, last reading, verdict.

use uds::{DtcSetting, IoControl, Request, Session};

use super::connect::end_state;
use super::script::{CONNECT, End, Script};
use super::step::Log;
use super::stop::Trouble;
use crate::report::{DtcEntry, EcuIdentity, EndState, FinalOutcome, Verdict};

impl Script {
    pub(super) fn conclude_inspection(mut self, end: &End) -> FinalOutcome {
        let after = self.before.clone();
        let detail = end.trouble.as_ref().map_or_else(
            || {
                "the attempt was interrupted after a write; the control unit was read, nothing was written"
                    .to_owned()
            },
            Trouble::detail,
        );
        let dtcs = self.dtcs_before.take();
        self.outcome(
            Verdict::InDoubt,
            "interrupted",
            Some(detail),
            after,
            dtcs,
            Vec::new(),
        )
    }

    pub(super) async fn conclude(mut self, end: End) -> FinalOutcome {
        let not_restored = self.cleanup(&end).await;
        let (mut after, mut dtcs_after) = (None, None);
        if self.connected {
            after = self.read_identity(None).await.ok();
            dtcs_after = self.read_dtcs(0xFF).await.ok().flatten();
        }
        let state = end_state(after.as_ref());
        let (verdict, reason, detail) = self.judge(&end, state, &not_restored);
        self.outcome(verdict, reason, detail, after, dtcs_after, not_restored)
    }

    fn outcome(
        self,
        verdict: Verdict,
        reason: &str,
        detail: Option<String>,
        after: Option<EcuIdentity>,
        dtcs_after: Option<Vec<DtcEntry>>,
        not_restored: Vec<String>,
    ) -> FinalOutcome {
        FinalOutcome {
            verdict,
            reason_code: reason.to_owned(),
            detail,
            before: self.before,
            end_state: end_state(after.as_ref()),
            after,
            dtcs_before: self.dtcs_before,
            dtcs_after,
            not_restored,
            restarts: self.restarts,
        }
    }

    /// The verdict. See the table in `docs` of the design: `failed` speaks of the product, `error` of the bench,
    /// `in_doubt` of a control unit whose state nobody knows.
    fn judge(
        &self,
        end: &End,
        state: EndState,
        not_restored: &[String],
    ) -> (Verdict, &'static str, Option<String>) {
        let Some(trouble) = &end.trouble else {
            if let Some(missed) = &self.missed {
                return (Verdict::Failed, "limit_missed", Some(missed.clone()));
            }
            if self.unverified {
                let detail = "nothing was read back after the last write".to_owned();
                return (Verdict::InDoubt, "not_verified", Some(detail));
            }
            let detail =
                (!not_restored.is_empty()).then(|| format!("not restored: {}", not_restored.join(", ")));
            return (Verdict::Passed, "ok", detail);
        };
        let detail = Some(trouble.detail());
        let reason = trouble.reason();
        if !self.wrote {
            return match trouble {
                Trouble::Missed(_) if end.in_precondition => {
                    (Verdict::Aborted, "precondition_missed", detail)
                }
                Trouble::Wrong { .. } | Trouble::Canceled => (Verdict::Aborted, reason, detail),
                _ if trouble.is_product() => (Verdict::Failed, reason, detail),
                _ => (Verdict::Error, reason, detail),
            };
        }
        let verdict = match trouble {
            // The check itself is the knowledge: the control unit answered, and it is not as it should be.
            _ if trouble.is_product() => Verdict::Failed,
            Trouble::Refused { .. } | Trouble::Bench { .. } | Trouble::Canceled if !self.past => {
                Verdict::Error
            }
            Trouble::Refused { .. } if state == EndState::Boot => Verdict::Failed,
            _ => Verdict::InDoubt,
        };
        (verdict, reason, detail)
    }

    /// Gives back whatever is held; says what it could not.
    async fn cleanup(&mut self, end: &End) -> Vec<String> {
        let started = self.desk.now();
        self.place = self.plan.steps_total().saturating_sub(1);
        // Nothing is sent to a vehicle or control unit that is not the job's, not even to give something back.
        let foreign = matches!(end.trouble, Some(Trouble::Wrong { .. }));
        let reachable = self.connected;
        if foreign {
            self.connected = false;
        }
        let mut lost = Vec::new();
        let holds = self.held.comm || self.held.dtc || self.held.session || !self.held.actuated.is_empty();
        // After a loss the state of the control unit is worth one more connection, also for the record.
        if !self.connected && !foreign && (holds || self.wrote) {
            // Its failure shows in `connected`.
            let _ = self.connect(CONNECT).await;
        }
        let functional = self.held.functional;
        if self.connected && (self.held.comm || self.held.dtc || !self.held.actuated.is_empty()) {
            // A reset or a new connection may have ended the session in which 2F, 28 and 85 are allowed. A refusal
            // here shows in the requests that follow.
            let _ = self
                .request_to(Request::session(Session::Extended), functional)
                .await;
        }
        for did in core::mem::take(&mut self.held.actuated) {
            let request = Request::InputOutputControl {
                did,
                control: IoControl::ReturnControl,
                state: Vec::new(),
            };
            self.give_back(request, false, &format!("control of output {did:04X}"), &mut lost)
                .await;
        }
        if self.held.comm && self.plan.cleanup.restore_comm {
            let request = Request::CommunicationControl {
                control: 0x00,
                communication_type: 0x01,
                suppress: false,
            };
            self.give_back(request, functional, "communication", &mut lost)
                .await;
        }
        if self.held.dtc && self.plan.cleanup.restore_dtc {
            let request = Request::ControlDtcSetting {
                setting: DtcSetting::On,
                suppress: false,
            };
            self.give_back(request, functional, "fault recording", &mut lost)
                .await;
        }
        if self.held.session && self.plan.cleanup.session_default {
            let request = Request::session(Session::Default);
            self.give_back(request, functional, "default session", &mut lost)
                .await;
        }
        // What it says about itself may be read all the same: that is what the record needs.
        self.connected |= foreign && reachable;
        let trouble = (!lost.is_empty()).then(|| Trouble::Bench {
            reason: "not_restored",
            detail: format!("not restored: {}", lost.join(", ")),
        });
        let log = Log {
            detail: trouble.as_ref().map(Trouble::detail),
            ..Log::default()
        };
        self.report(
            "cleanup",
            "Give back what was held or switched off",
            started,
            trouble.as_ref(),
            log,
        );
        lost
    }

    async fn give_back(&mut self, request: Request, functional: bool, what: &str, lost: &mut Vec<String>) {
        if !self.connected || self.request_to(request, functional).await.is_err() {
            lost.push(what.to_owned());
        }
    }
}
