//! The judge of the delivery contract: what the benches made against what arrived in the database and in Kafka.
//!
//! A history is what the clients noted while they worked (`append` before the disk was asked, `counted` after its
//! fsync, `receipted`), the rows of the database, and what a `read_committed` consumer reads. [`Judge`] takes them
//! one by one and keeps some hundred bytes of each event, so a million events need neither much memory nor more than
//! some seconds; [`saved`] reads a history from a folder, which can be judged again at any time.
//!
//! What the judge says of an event:
//!
//! | word | is |
//! |---|---|
//! | lost | counted on a bench's disk, and missing in the database or in Kafka |
//! | duplicate | there twice |
//! | reordered | after a later event of its bench in a lane: the commits of the database, a key of a topic |
//! | phantom | there, and no client ever began to write it |
//! | changed | there with other bytes or another id |
//! | refused | there although the server has to reject it |
//! | unknown | begun and not counted, because its client was killed in between: it may be there or not |
//! | excused | counted and never receipted on a disk that was then put back to an older image |

mod disk;
mod event;
mod judge;
mod judgement;
pub mod saved;

pub use disk::{DiskError, read_spools};
pub use event::{Arrived, Hash, Made, Noted, Place, hash, topic};
pub use judge::{Begun, Judge, Source, judge};
pub use judgement::{Fault, Faults, Judgement, Kind};
