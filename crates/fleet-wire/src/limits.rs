//! Limits of the wire, checked on both sides.

use std::time::Duration;

/// Largest payload of any message, bytes.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// Room that topic, properties and header may take beside the payload, bytes.
pub const MAX_PACKET_OVERHEAD_BYTES: usize = 2 * 1024;
/// Largest MQTT packet that either side announces, bytes.
pub const MAX_PACKET_BYTES: usize = MAX_PAYLOAD_BYTES + MAX_PACKET_OVERHEAD_BYTES;
/// Most events without receipt on their way.
pub const MAX_WINDOW: u16 = 16;
/// Most open jobs in a device's list.
pub const MAX_OPEN_JOBS: usize = 32;
/// Most rejections named in one receipt.
pub const MAX_REJECTIONS: usize = 100;
/// Most rejections named in one sync answer, over all its spools, so that it stays below the payload limit.
pub const MAX_ANSWER_REJECTIONS: usize = 1000;
/// Most spools held, and most former spools, named in one sync. A bench that holds more names the oldest
/// ones and the one being written; the others follow once the oldest are done with.
pub const MAX_SPOOLS: usize = 64;
/// Most jobs named in one sync: the open ones and finished ones whose final event has no receipt yet.
pub const MAX_SYNC_JOBS: usize = 128;
/// Largest `job` of an entry of a list, bytes of JSON, so that 32 of them stay below the payload limit.
pub const MAX_JOB_BYTES: usize = 7 * 1024;
/// Longest `type` and `subject` of an event, bytes.
pub const MAX_ATTRIBUTE_BYTES: usize = 128;
/// Longest text for people in a sync, characters; a longer one is cut by the reader.
pub const MAX_NOTE_CHARS: usize = 500;
/// Largest sequence number, counter or version: what a signed 64-bit column holds.
pub const MAX_SEQ: u64 = i64::MAX as u64;

/// How long the broker keeps the session of a bench that is away.
pub const SESSION_EXPIRY: Duration = Duration::from_hours(7 * 24);
/// MQTT keep-alive of a bench.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Delay of the will: a short reconnect does not show as offline.
pub const WILL_DELAY: Duration = Duration::from_secs(5);
/// Message expiry of receipts, sync answers and commands.
pub const CONTROL_EXPIRY: Duration = Duration::from_mins(1);
/// Interval of sync, jittered by 20 %.
pub const SYNC_INTERVAL: Duration = Duration::from_mins(1);
