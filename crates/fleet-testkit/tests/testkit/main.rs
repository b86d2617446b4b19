//! What the tests of the whole system rely on.

mod collector;
mod processes;
mod proxy;
mod services;
