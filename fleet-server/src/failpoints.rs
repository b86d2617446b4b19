//! Points at which a test kills the process, as a power cut would. Only with the cargo feature
//! `failpoints`; the environment variable `FAILPOINTS` names a point and its action, such as
//! `ingest.after_commit=2*off->return`: pass twice, die at the third.

/// After the commit, before the broker's acknowledgement.
pub(crate) fn after_commit() {
    #[cfg(feature = "failpoints")]
    fail::fail_point!("ingest.after_commit", |_| die());
}

/// After the broker's acknowledgement, before the receipt.
#[cfg(feature = "failpoints")]
pub(crate) fn after_ack() {
    fail::fail_point!("ingest.after_ack", |_| die());
}

/// Kills this process without any clean-up.
#[cfg(feature = "failpoints")]
fn die() {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    loop {
        std::thread::park();
    }
}
