//! Device agent.
fn main() {}
