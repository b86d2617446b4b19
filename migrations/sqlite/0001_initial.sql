-- The storage of one plant. Times are microseconds since 1970 (UTC), identifiers are 16 bytes.

CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    plant TEXT NOT NULL,
    generation BLOB NOT NULL,
    -- The generation was made by a restore: offers wait for every known bench (delivery rule 28).
    restored INTEGER NOT NULL DEFAULT 0,
    last_fence INTEGER NOT NULL DEFAULT 0,
    relayed_through INTEGER NOT NULL DEFAULT 0,
    changes_pruned_through INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE slots (
    slot INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    term INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE devices (
    device TEXT PRIMARY KEY,
    slot INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    run_id BLOB,
    connect_counter INTEGER NOT NULL DEFAULT 0,
    online INTEGER NOT NULL DEFAULT 0,
    presence_since INTEGER,
    station TEXT,
    vin TEXT,
    ecus TEXT NOT NULL DEFAULT '[]',
    transports TEXT NOT NULL DEFAULT '[]',
    agent_version TEXT,
    public_key TEXT,
    list_version INTEGER NOT NULL DEFAULT 0,
    refusing_jobs TEXT,
    held_events INTEGER NOT NULL DEFAULT 0,
    last_ordinal INTEGER NOT NULL DEFAULT 0,
    newest_spool BLOB,
    -- What the last sync stated, until the events before it are settled.
    sync_generation BLOB,
    sync_version INTEGER NOT NULL DEFAULT 0,
    sync_last TEXT NOT NULL DEFAULT '[]',
    sync_jobs TEXT NOT NULL DEFAULT '[]',
    -- The last runs with their highest sync number, the current one last.
    sync_runs TEXT NOT NULL DEFAULT '[]',
    settled_generation BLOB,
    released_generation BLOB
) STRICT, WITHOUT ROWID;

-- The ledger. Its row alone decides what is a duplicate.
CREATE TABLE spools (
    device TEXT NOT NULL,
    spool BLOB NOT NULL,
    ordinal INTEGER NOT NULL,
    prev_spool BLOB,
    prev_last INTEGER,
    through INTEGER NOT NULL,
    announced INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    holes INTEGER NOT NULL,
    rejections_known INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    gaps INTEGER NOT NULL,
    conflicts INTEGER NOT NULL,
    restored_in BLOB,
    PRIMARY KEY (device, spool)
) STRICT, WITHOUT ROWID;

CREATE INDEX spools_by_predecessor ON spools (device, prev_spool);

CREATE TABLE rejections (
    device TEXT NOT NULL,
    spool BLOB NOT NULL,
    seq INTEGER NOT NULL,
    code TEXT NOT NULL,
    PRIMARY KEY (device, spool, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    n INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    spool BLOB NOT NULL,
    seq INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    type TEXT NOT NULL,
    vin TEXT,
    time INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    digest BLOB NOT NULL,
    bytes BLOB NOT NULL,
    -- 0 projected, 1 unprojected, 2 fenced
    standing INTEGER NOT NULL,
    reason TEXT
) STRICT;
CREATE INDEX events_place ON events (device, spool, seq);
CREATE INDEX events_unprojected ON events (n) WHERE standing = 1;

CREATE TABLE holes (
    device TEXT NOT NULL,
    spool BLOB NOT NULL,
    from_seq INTEGER NOT NULL,
    to_seq INTEGER NOT NULL,
    reason TEXT NOT NULL,
    bytes BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (device, spool, from_seq)
) STRICT, WITHOUT ROWID;

-- Other content for a position that is stored: kept aside.
CREATE TABLE conflicts (
    device TEXT NOT NULL,
    spool BLOB NOT NULL,
    seq INTEGER NOT NULL,
    digest BLOB NOT NULL,
    bytes BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (device, spool, seq, digest)
) STRICT;

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL,
    channel TEXT NOT NULL,
    spool BLOB,
    seq INTEGER,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    user_properties TEXT NOT NULL,
    bytes BLOB NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;

-- Narrow: the relay joins the event. AUTOINCREMENT, so that a sequence is never given twice.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    token BLOB NOT NULL,
    topic TEXT NOT NULL,
    event INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_event ON outbox (event);

CREATE TABLE jobs (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    request_id TEXT,
    requested_by TEXT NOT NULL,
    kind TEXT NOT NULL,
    vin TEXT NOT NULL,
    ecu TEXT NOT NULL,
    procedure_id TEXT NOT NULL,
    procedure_version TEXT NOT NULL,
    procedure_sha256 TEXT NOT NULL,
    artifacts TEXT NOT NULL,
    parameters TEXT NOT NULL,
    wanted_device TEXT,
    start_within_s INTEGER NOT NULL,
    deadline INTEGER,
    priority INTEGER NOT NULL,
    traceparent TEXT,
    reported INTEGER NOT NULL,
    state TEXT NOT NULL,
    parked TEXT,
    verdict TEXT,
    reason_code TEXT,
    detail TEXT,
    attempt INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    device TEXT,
    offer_id BLOB,
    withdraw_target TEXT,
    withdraw_version INTEGER,
    withdraw_reason TEXT,
    steps_total INTEGER,
    steps_done INTEGER NOT NULL,
    software TEXT NOT NULL,
    fenced_events INTEGER NOT NULL,
    decided_by TEXT,
    created_at INTEGER NOT NULL,
    offered_at INTEGER,
    accepted_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    -- A bench that must be told that the job was taken from it, and the first list that says so.
    fenced_device TEXT,
    fenced_version INTEGER,
    UNIQUE (requested_by, request_id)
) STRICT;
CREATE INDEX jobs_state ON jobs (state, n);
CREATE INDEX jobs_vin ON jobs (vin, n);
CREATE INDEX jobs_device ON jobs (device, n);
CREATE INDEX jobs_queue ON jobs (priority DESC, n) WHERE state = 'queued';
CREATE INDEX jobs_open ON jobs (device)
    WHERE state IN ('offered', 'withdrawing', 'accepted', 'running') OR verdict = 'in_doubt';
CREATE INDEX jobs_fenced ON jobs (fenced_device) WHERE fenced_device IS NOT NULL;

-- One VIN, one bench.
CREATE TABLE vin_leases (
    vin TEXT PRIMARY KEY,
    job BLOB NOT NULL,
    device TEXT NOT NULL,
    fence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX vin_leases_job ON vin_leases (job);

CREATE TABLE attempts (
    job BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    device TEXT NOT NULL,
    offer_id BLOB,
    offered_at INTEGER,
    accepted_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    verdict TEXT,
    reason_code TEXT,
    detail TEXT,
    steps_total INTEGER,
    software TEXT NOT NULL DEFAULT '{}',
    record TEXT,
    fenced INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, attempt, fence)
) STRICT, WITHOUT ROWID;

CREATE TABLE steps (
    job BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    step_index INTEGER NOT NULL,
    step TEXT NOT NULL,
    name TEXT NOT NULL,
    outcome TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    nrc INTEGER,
    detail TEXT,
    measurements TEXT NOT NULL CHECK (json_valid(measurements)),
    PRIMARY KEY (job, attempt, fence, step_index)
) STRICT, WITHOUT ROWID;

CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE TABLE alarms (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    device TEXT,
    detail TEXT NOT NULL,
    count INTEGER NOT NULL,
    raised_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    UNIQUE (kind, subject)
) STRICT;
CREATE INDEX alarms_last ON alarms (last_at, id);

CREATE TABLE procedures (
    id TEXT NOT NULL,
    version TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    yaml TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (id, version)
) STRICT;

CREATE TABLE artifacts (
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;
