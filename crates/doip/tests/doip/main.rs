//! Codec, stream and client of ISO 13400-2.

mod client;
mod codec;
mod stream;
