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

/// Before a Kafka transaction is begun.
pub(crate) fn relay_between() {
    #[cfg(feature = "failpoints")]
    fail::fail_point!("relay.between", |_| die());
}

/// Every record of a Kafka transaction is acknowledged, its commit is not asked for.
pub(crate) fn relay_in_transaction() {
    #[cfg(feature = "failpoints")]
    fail::fail_point!("relay.in_transaction", |_| die());
}

/// A Kafka transaction is committed, the database does not know it.
pub(crate) fn relay_after_commit() {
    #[cfg(feature = "failpoints")]
    fail::fail_point!("relay.after_commit", |_| die());
}

/// Kills this process without any clean-up.
#[cfg(feature = "failpoints")]
fn die() {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    loop {
        std::thread::park();
    }
}
