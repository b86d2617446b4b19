//! TODO: replaced by the first real content.
