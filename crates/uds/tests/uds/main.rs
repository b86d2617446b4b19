//! Codec, client and transfer of ISO 14229-1.

mod client;
mod codec;
mod independent;
mod transfer;
