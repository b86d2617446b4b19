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
/// Most spools named in one sync.
pub const MAX_SPOOLS: usize = 64;
/// Largest sequence number: what a signed 64-bit column holds.
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
