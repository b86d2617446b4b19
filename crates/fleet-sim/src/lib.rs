//! The delivery contract in simulated time.
