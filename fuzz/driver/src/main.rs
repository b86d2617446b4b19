//! Looks for inputs that break a target, guided by coverage. `cargo xtask fuzz` builds and starts it.
//!
//! The target's name comes by the environment variable `FUZZ_TARGET`; the arguments are libFuzzer's.
#![no_main]

use std::sync::LazyLock;

use fuzz_targets::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    fuzz_targets::find(&name).unwrap_or_else(|| panic!("there is no fuzz target {name:?} in this build"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET.run(data));
