//! Fuzz targets: every decoder of bytes that come from outside, as a plain function.
//!
//! A target takes any bytes and panics when a property does not hold. Beside "it does not panic" a target states what
//! its decoder promises: what was read can be written and reads the same again; what is kept is bounded; an error says
//! something that a person can use and is short. [`run`] adds the bound on memory for all of them.
//!
//! `tests/corpus.rs` replays the committed inputs in `corpus/TARGET/` on the stable compiler. `driver/` is a program of
//! its own, outside this workspace, that looks for new ones with libFuzzer: `cargo xtask fuzz`.

mod doip;
mod ecu_sim;
mod folder;
mod procedure;
mod relay;
mod settings;
mod spool;
mod uds;
mod wire;

#[cfg(feature = "programs")]
mod agent;
#[cfg(feature = "programs")]
mod load;
#[cfg(feature = "programs")]
mod server;

use peak_alloc::PeakAlloc;

/// Counts what is allocated, so that a length field can't make a decoder take memory that nobody sent.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Memory that a decoder may take whatever it is given: buffers, tables, the simulated disk.
const MEMORY_BASE: usize = 8 * 1024 * 1024;
/// Memory that it may take for each byte of input.
const MEMORY_PER_BYTE: usize = 512;

/// One decoder with its properties.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`. Those of programs begin with the program's name and a dash.
    pub name: &'static str,
    /// What it decodes, for a list.
    pub about: &'static str,
    check: fn(&[u8]),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn target(name: &'static str, about: &'static str, check: fn(&[u8])) -> Target {
    Target { name, about, check }
}

/// The targets of the libraries.
const LIBRARIES: &[Target] = &[
    target(
        "doip-message",
        "one DoIP message, as in a datagram of the discovery",
        doip::message,
    ),
    target(
        "doip-stream",
        "a TCP stream of DoIP messages, cut anywhere",
        doip::stream,
    ),
    target("ecu-fault", "a fault as given to the simulator", ecu_sim::fault),
    target(
        "ecu-image",
        "the header of an image for a simulated control unit",
        ecu_sim::image,
    ),
    target(
        "ecu-vehicles",
        "the simulator's file of vehicles",
        ecu_sim::vehicles,
    ),
    target("host-port", "host and port of a peer", settings::host_port),
    target("procedure", "a procedure in YAML", procedure::compile),
    target("relay-cursor", "the relay's cursor in Kafka", relay::cursor),
    target("relay-headers", "headers of a record in Kafka", relay::headers),
    target("saved-state", "the bench's saved jobs", wire::saved_state),
    target("spool-damage", "a spool with one damaged place", spool::damage),
    target("spool-folder", "a folder of spool files", spool::folder),
    target(
        "uds-request",
        "a UDS request, as the simulator reads it",
        uds::request,
    ),
    target("uds-response", "a UDS answer", uds::response),
    target("wire-commands", "a bench's list of jobs", wire::commands),
    target("wire-event", "an event's document", wire::event),
    target("wire-ids", "names, VINs, slots and UUIDs", wire::ids),
    target("wire-live", "a live message", wire::live),
    target("wire-presence", "presence and will", wire::presence),
    target("wire-properties", "user properties of an event", wire::properties),
    target("wire-receipt", "receipts and answers to sync", wire::receipt),
    target("wire-sync", "a bench's sync", wire::sync),
    target("wire-topic", "a topic", wire::topic),
];

/// The targets of the programs.
#[cfg(feature = "programs")]
const PROGRAMS: &[Target] = &[
    target("agent-journal", "the journal of an attempt", agent::journal),
    target("agent-settings", "device-agent.toml", agent::settings),
    target("loadtest-scenario", "a scenario of the load tool", load::scenario),
    target(
        "server-cursor",
        "a position in the live stream",
        server::stream_cursor,
    ),
    target("server-job", "the body of POST /api/v1/jobs", server::job),
    target("server-message", "any message of the broker", server::message),
    target("server-record", "a signed record of a run", server::record),
    target("server-settings", "fleet-server.toml", server::settings),
];
#[cfg(not(feature = "programs"))]
const PROGRAMS: &[Target] = &[];

/// All targets of this build.
pub fn targets() -> impl Iterator<Item = Target> {
    LIBRARIES.iter().chain(PROGRAMS).copied()
}

/// The target of that name.
pub fn find(name: &str) -> Option<Target> {
    targets().find(|target| target.name == name)
}

impl Target {
    /// A target that is in no list, for tests of this crate.
    pub const fn new(name: &'static str, check: fn(&[u8])) -> Self {
        target(name, "", check)
    }

    /// Whether it needs the feature `programs`.
    pub fn of_a_program(&self) -> bool {
        PROGRAMS.iter().any(|target| target.name == self.name)
    }

    /// Decodes and checks.
    ///
    /// # Panics
    /// When a property does not hold, or the decoder took more memory than the input justifies.
    pub fn run(&self, data: &[u8]) {
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        (self.check)(data);
        let taken = ALLOCATED.peak_usage().saturating_sub(before);
        let allowed = MEMORY_BASE + MEMORY_PER_BYTE * data.len();
        assert!(
            taken <= allowed,
            "{} took {taken} bytes of memory for {} bytes of input, {allowed} are allowed",
            self.name,
            data.len()
        );
    }
}

/// Runs a target.
///
/// # Panics
/// When there is no such target in this build, or as [`Target::run`] does.
pub fn run(name: &str, data: &[u8]) {
    let target = find(name).unwrap_or_else(|| panic!("there is no fuzz target {name:?}"));
    target.run(data);
}

/// Longest error text that a decoder may give: it ends up in a log line, a column or a terminal.
const LONGEST_ERROR: usize = 8 * 1024;

/// An error says something, and not too much.
fn useful(error: &dyn std::error::Error) {
    useful_text(&fleet_domain::error_chain(error));
}

fn useful_text(text: &str) {
    assert!(!text.trim().is_empty(), "an error without a word");
    assert!(
        text.len() <= LONGEST_ERROR,
        "an error of {} bytes: {}…",
        text.len(),
        text.chars().take(200).collect::<String>()
    );
}
