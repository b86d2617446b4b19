//! The tool against real brokers, against a broker that lies, and against what a person may type.

mod calls;
mod docs;
mod embedded;
mod expected;
mod external;
mod liar;
mod lies;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use broker_conformance::{
    BrokerControl, CheckReport, ControlError, Ending, NoControl, Options, Progress, Report, run,
};
use fleet_testkit::services::{Hivemq, Mosquitto};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// Nobody looks.
struct Quiet;

impl Progress for Quiet {
    fn plans(&self, _: usize) {}
    fn begins(&self, _: &str) {}
    fn ends(&self, _: &str, _: &[CheckReport]) {}
}

/// Runs the tool's library against a broker. The queue is twice what brokers keep by default.
async fn check(url: &str, control: Arc<dyn BrokerControl>, only: &[&str]) -> Report {
    let options = Options {
        target: url.parse().expect("an address"),
        control,
        only: only.iter().map(|word| (*word).to_owned()).collect(),
        messages: 2000,
        root: "vds/v1".to_owned(),
        unique: format!("conformance-{:016x}", fleet_clock::jitter_seed()),
    };
    run(options, &Quiet, std::future::pending())
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}: {:?}", std::error::Error::source(&error)))
}

fn no_control() -> Arc<dyn BrokerControl> {
    Arc::new(NoControl)
}

/// A service of the testkit that can be restarted.
trait Service: Send + 'static {
    async fn restart(&mut self, ending: Ending) -> anyhow::Result<()>;
}

impl Service for Mosquitto {
    async fn restart(&mut self, ending: Ending) -> anyhow::Result<()> {
        if ending == Ending::Killed {
            self.kill()?;
        }
        Mosquitto::restart(self).await
    }
}

impl Service for Hivemq {
    async fn restart(&mut self, ending: Ending) -> anyhow::Result<()> {
        if ending == Ending::Killed {
            self.kill()?;
        }
        Hivemq::restart(self).await
    }
}

/// Ends and starts such a service.
struct Controlled<S>(Arc<Mutex<S>>);

impl<S> Controlled<S> {
    fn new(service: S) -> Arc<Self> {
        Arc::new(Self(Arc::new(Mutex::new(service))))
    }
}

#[async_trait]
impl<S: Service> BrokerControl for Controlled<S> {
    fn can(&self, _: Ending) -> bool {
        true
    }

    async fn restart(&self, ending: Ending) -> Result<(), ControlError> {
        let service = Arc::clone(&self.0);
        let runtime = Handle::current();
        let restarted = tokio::task::spawn_blocking(move || {
            runtime.block_on(async move { service.lock().await.restart(ending).await })
        });
        let restarted = restarted.await.expect("no panic");
        restarted.map_err(|error| ControlError::Other(format!("{error:#}")))
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
