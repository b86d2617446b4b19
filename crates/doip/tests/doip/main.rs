//! Codec, stream and client of ISO 13400-2.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod codec;
mod independent;
mod stream;
