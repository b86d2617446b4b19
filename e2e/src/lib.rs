//! Tests of the whole system. The programs under test stand in `src/bin`, the tests in `tests`.

use std::path::PathBuf;

/// Where the programs under test are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `fleet-server` with failpoints.
    pub server: PathBuf,
    /// `device-agent` with failpoints.
    pub agent: PathBuf,
    /// `ecu-sim`.
    pub ecu_sim: PathBuf,
}

/// The programs under test, in an integration test of this crate: only there cargo says where they are.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::Programs {
            server: env!("CARGO_BIN_EXE_fleet-server-under-test").into(),
            agent: env!("CARGO_BIN_EXE_device-agent-under-test").into(),
            ecu_sim: env!("CARGO_BIN_EXE_ecu-sim-under-test").into(),
        }
    };
}
