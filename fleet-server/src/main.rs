//! Fleet server.
fn main() {}
