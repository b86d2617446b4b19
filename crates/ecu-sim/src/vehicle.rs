//! A vehicle: its control units, its state file and a log of what it was asked.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ecu::{Ecu, Reaction};
use crate::fault::Fault;
use crate::memory::{EcuMemory, VehicleMemory};
use crate::spec::{EntitySpec, VehicleSpec};

/// Requests kept in the log.
const LOG: usize = 4096;

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("cannot use the state file {path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not of the format.
    #[error("the state file {path} is damaged; remove it to start with a vehicle from the factory", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// A request that a control unit heard, keys left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    /// Name of the control unit.
    pub ecu: String,
    /// Whether it came to the functional address.
    pub functional: bool,
    /// The bytes; of a key only the sub-function.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Inside {
    ecus: Vec<Ecu>,
    log: VecDeque<LoggedRequest>,
}

/// A vehicle. Shared by the tasks of its entity.
#[derive(Debug)]
pub struct Vehicle {
    vin: String,
    entity: EntitySpec,
    state: Option<PathBuf>,
    inside: Mutex<Inside>,
}

impl Vehicle {
    /// A vehicle whose state lies in `{folder}/{vin}.json`; without a folder it forgets everything.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn new(spec: &VehicleSpec, folder: Option<&Path>) -> Result<Self, StateError> {
        let state = folder.map(|folder| folder.join(format!("{}.json", spec.vin)));
        let mut memory = match &state {
            Some(path) => load(path)?,
            None => VehicleMemory::default(),
        };
        let ecus = spec
            .ecus
            .iter()
            .map(|ecu| Ecu::new(&spec.vin, ecu.clone(), memory.ecus.remove(&ecu.name), spec.seed))
            .collect();
        let inside = Mutex::new(Inside {
            ecus,
            log: VecDeque::new(),
        });
        let vehicle = Self {
            vin: spec.vin.clone(),
            entity: spec.entity.clone(),
            state,
            inside,
        };
        vehicle.save(&mut vehicle.inside())?;
        Ok(vehicle)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // A panic while it was held left whole control units behind.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its VIN.
    pub fn vin(&self) -> &str {
        &self.vin
    }

    /// Its entity.
    pub const fn entity(&self) -> &EntitySpec {
        &self.entity
    }

    /// What a control unit keeps over a power cut.
    pub fn memory(&self, ecu: &str) -> Option<EcuMemory> {
        self.inside()
            .ecus
            .iter()
            .find(|one| one.name() == ecu)
            .map(|one| one.memory().clone())
    }

    /// Whether a control unit sends, records faults and holds no output.
    pub fn is_restored(&self, ecu: &str) -> Option<bool> {
        self.inside()
            .ecus
            .iter()
            .find(|one| one.name() == ecu)
            .map(Ecu::is_restored)
    }

    /// What was asked, oldest first, at most 4096 requests.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.inside().log.iter().cloned().collect()
    }

    /// Adds a fault; `false` when there is no such control unit.
    pub fn add_fault(&self, ecu: &str, fault: Fault) -> bool {
        let mut inside = self.inside();
        match inside.ecus.iter_mut().find(|one| one.name() == ecu) {
            Some(ecu) => {
                ecu.add_fault(fault);
                true
            }
            None => false,
        }
    }

    /// Whether an address is that of a control unit, and whether that is there at the moment.
    pub(crate) fn presence(&self, address: u16, now: Duration) -> Option<bool> {
        let inside = self.inside();
        inside
            .ecus
            .iter()
            .find(|one| one.logical_address() == address)
            .map(|one| one.is_there(now))
    }

    /// Lets the control units of an address take a request.
    ///
    /// # Errors
    /// [`StateError`] when what changed cannot be kept.
    pub(crate) fn handle(
        &self,
        address: u16,
        bytes: &[u8],
        now: Duration,
    ) -> Result<Vec<(u16, Reaction)>, StateError> {
        let functional = address == self.entity.functional;
        let mut inside = self.inside();
        let Inside { ecus, log } = &mut *inside;
        let mut reactions = Vec::new();
        for ecu in ecus
            .iter_mut()
            .filter(|ecu| functional || ecu.logical_address() == address)
        {
            if !ecu.is_there(now) {
                continue;
            }
            if log.len() == LOG {
                log.pop_front();
            }
            log.push_back(LoggedRequest {
                ecu: ecu.name().to_owned(),
                functional,
                bytes: shown(bytes),
            });
            reactions.push((ecu.logical_address(), ecu.handle(bytes, functional, now)));
        }
        self.save(&mut inside)?;
        Ok(reactions)
    }

    fn save(&self, inside: &mut Inside) -> Result<(), StateError> {
        // Each of them is asked, not only up to the first that changed.
        let changed = inside
            .ecus
            .iter_mut()
            .filter_map(|ecu| ecu.take_dirty().then_some(()))
            .count()
            > 0;
        let Some(path) = self.state.as_ref().filter(|_| changed) else {
            return Ok(());
        };
        let ecus = inside
            .ecus
            .iter()
            .map(|ecu| (ecu.name().to_owned(), ecu.memory().clone()))
            .collect();
        let memory = VehicleMemory {
            vin: self.vin.clone(),
            ecus,
        };
        let text = serde_json::to_vec_pretty(&memory).map_err(|source| StateError::Format {
            path: path.clone(),
            source,
        })?;
        // Whole or not at all, for whoever reads it.
        let fresh = path.with_extension("json.new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, path))
            .map_err(|source| StateError::Io {
                path: path.clone(),
                source,
            })
    }
}

/// Keys of security access are not shown.
fn shown(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [0x27, level, ..] if level % 2 == 0 => vec![0x27, *level],
        _ => bytes.to_vec(),
    }
}

fn load(path: &Path) -> Result<VehicleMemory, StateError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| StateError::Format {
            path: path.to_owned(),
            source,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(VehicleMemory::default()),
        Err(source) => Err(StateError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}
