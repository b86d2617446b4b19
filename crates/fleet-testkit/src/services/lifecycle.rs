//! The methods that every service has.

/// How often another port is tried when somebody else was quicker.
pub(super) const PORTS_TRIED: u32 = 3;

/// Adds the methods of a service that has a `daemon`, a method `run` that starts it and one `choose_ports`, with the
/// signal that ends it in order and the text of its log that says that its port is taken.
macro_rules! lifecycle {
    ($service:ty, $title:literal, ends_by $signal:expr, taken $taken:literal) => {
        impl $service {
            /// Kills all its processes (SIGKILL).
            ///
            /// # Errors
            /// When the kernel refuses.
            pub fn kill(&mut self) -> anyhow::Result<()> {
                self.daemon
                    .take()
                    .map_or(Ok(()), |mut daemon| daemon.kill())
            }

            /// Ends it in order. One that does not run is left alone.
            ///
            /// # Errors
            /// When it did not end within a minute and had to be killed; with the end of its log.
            pub async fn stop(&mut self) -> anyhow::Result<()> {
                match self.daemon.take() {
                    Some(daemon) => daemon.end($signal).await.map(drop),
                    None => Ok(()),
                }
            }

            /// Starts it again on the same folder and port; a running one is stopped before.
            ///
            /// # Errors
            /// When it does not get ready; with the end of its log.
            pub async fn restart(&mut self) -> anyhow::Result<()> {
                self.stop().await?;
                self.run().await
            }

            /// Freezes all its processes (SIGSTOP): its sockets stay open and silent.
            ///
            /// # Errors
            /// When it does not run.
            pub fn freeze(&mut self) -> anyhow::Result<()> {
                self.running()?.freeze()
            }

            /// Lets them go on (SIGCONT).
            ///
            /// # Errors
            /// When it does not run.
            pub fn thaw(&mut self) -> anyhow::Result<()> {
                self.running()?.thaw()
            }

            /// Whether it runs: it was started, and has not ended by itself.
            pub fn is_running(&mut self) -> bool {
                let daemon = self.daemon.as_mut();
                daemon.is_some_and(|daemon| daemon.process().ended().is_none())
            }

            /// The id of its first process.
            pub fn pid(&mut self) -> Option<u32> {
                self.daemon.as_mut().map(|daemon| daemon.process().pid())
            }

            fn running(&mut self) -> anyhow::Result<&mut $crate::services::daemon::Daemon> {
                let daemon = self.daemon.as_mut();
                anyhow::Context::context(daemon, concat!($title, " does not run"))
            }

            /// Starts it for the first time: on another port when its own was taken meanwhile.
            async fn run_on_free_ports(&mut self) -> anyhow::Result<()> {
                for _ in 1..$crate::services::lifecycle::PORTS_TRIED {
                    let Err(error) = self.run().await else {
                        return Ok(());
                    };
                    if !self
                        .daemon
                        .take()
                        .is_some_and(|daemon| daemon.logged($taken))
                    {
                        return Err(error);
                    }
                    self.choose_ports()?;
                }
                self.run().await
            }
        }
    };
}

pub(super) use lifecycle;
