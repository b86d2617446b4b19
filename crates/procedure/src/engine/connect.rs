//! Connections, and who is at the other end.

use core::time::Duration;

use uds::{Request, Response, Session};

use super::script::Script;
use super::stop::Trouble;
use super::{Command, Event};
use crate::report::{DtcEntry, EcuIdentity, EndState};
use crate::value;

const DID_VIN: u16 = 0xF190;
const DID_PART: u16 = 0xF187;
const DID_HARDWARE: u16 = 0xF191;
const DID_SERIAL: u16 = 0xF18C;
const DID_BOOT: u16 = 0xF180;
const DID_APPLICATION: u16 = 0xF181;
const DID_SOFTWARE: u16 = 0xF189;
const DID_FINGERPRINT: u16 = 0xF15A;
const DID_SESSION: u16 = 0xF186;

/// Pause before a control unit that starts is asked again.
const BOOT_PAUSE: Duration = Duration::from_millis(200);

impl Script {
    /// A new connection whose vehicle and control unit are compared with the job before anything else happens.
    pub(super) async fn connect(&mut self, within: Duration) -> Result<EcuIdentity, Trouble> {
        let deadline = self.desk.now().saturating_add(within);
        self.connected = false;
        loop {
            let left = deadline.saturating_sub(self.desk.now());
            let announced = match self.desk.ask(Command::Connect { within: left }).await {
                Event::Connected { announced_vin } => announced_vin,
                Event::NotConnected { detail } => return Err(Trouble::LinkLost(detail)),
                _ => return Err(protocol_of_the_caller()),
            };
            self.connected = true;
            self.compare_announcement(announced.as_deref())?;
            match self.identify(deadline).await {
                Err(Trouble::LinkLost(detail)) => {
                    self.connected = false;
                    if self.desk.now() >= deadline {
                        return Err(Trouble::LinkLost(detail));
                    }
                    self.sleep(BOOT_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    fn compare_announcement(&self, announced: Option<&str>) -> Result<(), Trouble> {
        match announced {
            Some(vin) if vin != self.inputs.vin => Err(self.wrong_vin(vin, "its vehicle announcement")),
            _ => Ok(()),
        }
    }

    fn wrong_vin(&self, read: &str, from: &str) -> Trouble {
        Trouble::Wrong {
            reason: "wrong_vin",
            detail: format!(
                "the vehicle says VIN {read} in {from}, the job is for {}",
                self.inputs.vin
            ),
        }
    }

    async fn identify(&mut self, deadline: Duration) -> Result<EcuIdentity, Trouble> {
        // A control unit that starts is silent at first, or its gateway says that it cannot be reached.
        let vin = loop {
            match self.read_text(DID_VIN).await {
                Err(Trouble::Silent(_)) if self.desk.now() < deadline => self.sleep(BOOT_PAUSE).await,
                other => break other?,
            }
        };
        match &vin {
            Some(read) if *read == self.inputs.vin => {}
            Some(read) => return Err(self.wrong_vin(read, "identifier F190")),
            None => {
                return Err(Trouble::Wrong {
                    reason: "wrong_vin",
                    detail: "the control unit does not say its VIN (identifier F190)".to_owned(),
                });
            }
        }
        let identity = self.read_identity(vin).await?;
        let target = &self.plan.target;
        compare("wrong_part", "part", identity.part.as_deref(), &target.part)?;
        compare(
            "wrong_hardware",
            "hardware",
            identity.hardware.as_deref(),
            &target.hw,
        )?;
        Ok(identity)
    }

    /// Everything that the control unit says about itself.
    pub(super) async fn read_identity(&mut self, vin: Option<String>) -> Result<EcuIdentity, Trouble> {
        Ok(EcuIdentity {
            vin: match vin {
                Some(vin) => Some(vin),
                None => self.read_text(DID_VIN).await?,
            },
            part: self.read_text(DID_PART).await?,
            hardware: self.read_text(DID_HARDWARE).await?,
            serial: self.read_text(DID_SERIAL).await?,
            boot: self.read_text(DID_BOOT).await?,
            application: self.read_text(DID_APPLICATION).await?,
            software: self.read_text(DID_SOFTWARE).await?,
            fingerprint: self.read_text(DID_FINGERPRINT).await?,
            session: self.read_session().await?,
        })
    }

    pub(super) async fn read_session(&mut self) -> Result<Option<u8>, Trouble> {
        Ok(self
            .read_known(DID_SESSION)
            .await?
            .and_then(|data| data.first().copied()))
    }

    async fn read_text(&mut self, did: u16) -> Result<Option<String>, Trouble> {
        Ok(self.read_known(did).await?.map(|data| value::text(&data)))
    }

    /// `None` when the control unit refuses the identifier.
    async fn read_known(&mut self, did: u16) -> Result<Option<Vec<u8>>, Trouble> {
        match self.request(Request::read(did)).await {
            Ok(Some(Response::Data { data, .. })) => Ok(Some(data)),
            Ok(_) | Err(Trouble::Refused { .. }) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// The faults, `None` when the control unit does not tell them in this state.
    pub(super) async fn read_dtcs(&mut self, mask: u8) -> Result<Option<Vec<DtcEntry>>, Trouble> {
        match self.request(Request::ReadDtcsByStatus { mask }).await {
            Ok(Some(Response::Dtcs { records, .. })) => Ok(Some(
                records
                    .into_iter()
                    .map(|record| DtcEntry {
                        code: record.code,
                        status: record.status,
                    })
                    .collect(),
            )),
            Ok(_) | Err(Trouble::Refused { .. }) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Goes to the programming session: the boot loader starts, so that the connection may end.
    pub(super) async fn enter_programming(&mut self) -> Result<(), Trouble> {
        let request = Request::session(Session::Programming);
        match self.request(request).await {
            Ok(_) | Err(Trouble::LinkLost(_)) => {}
            Err(trouble) => return Err(trouble),
        }
        let session = match self.read_session().await {
            Err(Trouble::LinkLost(_)) => self.connect(Duration::from_secs(15)).await?.session,
            other => other?,
        };
        match session {
            None | Some(0x02) => Ok(()),
            Some(other) => Err(Trouble::Silent(format!(
                "the control unit is in session {other:02X} instead of 02 after the change"
            ))),
        }
    }
}

/// What the identity says about the program that runs: a boot loader alone knows no application.
pub(super) fn end_state(identity: Option<&EcuIdentity>) -> EndState {
    match identity {
        None => EndState::Unknown,
        Some(identity) if identity.application.is_some() => EndState::App,
        Some(_) => EndState::Boot,
    }
}

fn compare(reason: &'static str, what: &str, read: Option<&str>, allowed: &[String]) -> Result<(), Trouble> {
    if allowed.is_empty() || read.is_some_and(|read| allowed.iter().any(|one| one == read)) {
        return Ok(());
    }
    let read = read.unwrap_or("nothing");
    Err(Trouble::Wrong {
        reason,
        detail: format!(
            "the control unit says {what} {read}, the procedure is for {}",
            allowed.join(", ")
        ),
    })
}

pub(super) fn protocol_of_the_caller() -> Trouble {
    Trouble::Bench {
        reason: "internal",
        detail: "the runner answered a command with an event of another kind".to_owned(),
    }
}
