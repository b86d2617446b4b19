//! What the benches made and what arrived somewhere: the history checker's words.

pub(crate) use history_checker::{Arrived, Made, Place, hash};
