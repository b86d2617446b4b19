//! Points at which a test kills the process, as a power cut would. Only with the cargo feature `failpoints`; the
//! environment variable `FAILPOINTS` names a point and its action, such as `spool.after_fsync=3*off->return`: pass
//! three times, die at the fourth.

/// After the spool's fsync, before anything is sent or decided.
#[cfg(feature = "failpoints")]
pub(crate) fn after_fsync() {
    fail::fail_point!("spool.after_fsync", |_| die());
}

/// After a PUBACK was read, before anything is done with it.
#[cfg(feature = "failpoints")]
pub(crate) fn after_puback() {
    fail::fail_point!("link.after_puback", |_| die());
}

/// In the middle of a download, after a block was transferred.
#[cfg(feature = "failpoints")]
pub(crate) fn mid_flash() {
    fail::fail_point!("runner.mid_flash", |_| die());
}

/// Kills this process without any clean-up.
#[cfg(feature = "failpoints")]
fn die() {
    // Nothing comes after it; should the signal not arrive, the process must not go on as if nothing had been.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    loop {
        std::thread::park();
    }
}

#[cfg(not(feature = "failpoints"))]
pub(crate) const fn after_fsync() {}
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn after_puback() {}
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn mid_flash() {}
