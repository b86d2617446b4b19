-- What is recorded of a plant, but for its jobs. Times are microseconds since 1970 (UTC), days are days since 1970.
-- Names are compared byte by byte, whatever the database's own collation is.

-- One row. Every ingest reads it FOR SHARE, so what changes often lies elsewhere.
CREATE TABLE meta (
    one boolean PRIMARY KEY CHECK (one),
    plant text NOT NULL,
    generation uuid NOT NULL,
    -- The generation was made by a restore: offers wait for every known bench (delivery rule 28).
    restored boolean NOT NULL DEFAULT false,
    created_at bigint NOT NULL
);

-- The last fencing number given away.
CREATE TABLE fences (
    one boolean PRIMARY KEY CHECK (one),
    last_fence bigint NOT NULL
);
INSERT INTO fences VALUES (true, 0);

-- Sixteen rows from the beginning: a slot that nobody ever claimed can be locked too.
CREATE TABLE slots (
    slot smallint PRIMARY KEY,
    -- NULL: free.
    owner text,
    term bigint NOT NULL,
    expires_at bigint NOT NULL
);
INSERT INTO slots SELECT n, NULL, 0, 0 FROM generate_series(0, 15) AS n;

CREATE TABLE replicas (
    owner text COLLATE "C" PRIMARY KEY,
    broker text NOT NULL,
    http text NOT NULL,
    version text NOT NULL,
    slots_ready integer NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    expires_at bigint NOT NULL
);

-- One relay at a time, and how far it came: the place and the token of the last row known to be in Kafka.
CREATE TABLE relay (
    one boolean PRIMARY KEY CHECK (one),
    owner text,
    term bigint NOT NULL,
    expires_at bigint NOT NULL,
    relayed_seq bigint NOT NULL,
    relayed_token uuid NOT NULL
);
INSERT INTO relay VALUES (true, NULL, 0, 0, 0, '00000000-0000-0000-0000-000000000000');

-- The highest position of each spool that Kafka had when the relay was reconciled after a restore.
CREATE TABLE kafka_highs (
    device text COLLATE "C" NOT NULL,
    spool uuid NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (device, spool)
);

CREATE TABLE devices (
    device text COLLATE "C" PRIMARY KEY,
    slot smallint NOT NULL,
    first_seen bigint NOT NULL,
    last_seen bigint NOT NULL,
    -- When the change log last told of the bench.
    told_at bigint NOT NULL DEFAULT 0,
    run_id uuid,
    connect_counter bigint NOT NULL DEFAULT 0,
    online boolean NOT NULL DEFAULT false,
    presence_since bigint,
    station text,
    vin text,
    ecus text NOT NULL DEFAULT '[]',
    transports text NOT NULL DEFAULT '[]',
    agent_version text,
    public_key text,
    list_version bigint NOT NULL DEFAULT 0,
    refusing_jobs text,
    held_events bigint NOT NULL DEFAULT 0,
    last_ordinal bigint NOT NULL DEFAULT 0,
    newest_spool uuid,
    -- What the last sync stated, until the events before it are settled.
    sync_generation uuid,
    sync_version bigint NOT NULL DEFAULT 0,
    sync_last text NOT NULL DEFAULT '[]',
    sync_jobs text NOT NULL DEFAULT '[]',
    -- The last runs with their highest sync number, the current one last.
    sync_runs text NOT NULL DEFAULT '[]',
    settled_generation uuid,
    released_generation uuid
)
-- Updated with each batch: room for the new version on the same page.
WITH (fillfactor = 70);

-- The ledger. Its row alone decides what is a duplicate.
CREATE TABLE spools (
    device text COLLATE "C" NOT NULL,
    spool uuid NOT NULL,
    ordinal bigint NOT NULL,
    prev_spool uuid,
    prev_last bigint,
    through bigint NOT NULL,
    announced bigint NOT NULL,
    stored bigint NOT NULL,
    rejected bigint NOT NULL,
    holes bigint NOT NULL,
    rejections_known bigint NOT NULL,
    duplicates bigint NOT NULL,
    gaps bigint NOT NULL,
    conflicts bigint NOT NULL,
    restored_in uuid,
    PRIMARY KEY (device, spool)
) WITH (fillfactor = 70);
CREATE INDEX spools_by_predecessor ON spools (device, prev_spool);

-- What became of a spool's stored events on their way to Kafka (delivery rule 23): stored = in_kafka +
-- already_in_kafka + unrelayable + expired + waiting. Beside `spools`, so that the relay and the ingest never
-- wait for each other.
CREATE TABLE relayed (
    device text COLLATE "C" NOT NULL,
    spool uuid NOT NULL,
    in_kafka bigint NOT NULL DEFAULT 0,
    already_in_kafka bigint NOT NULL DEFAULT 0,
    unrelayable bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (device, spool)
) WITH (fillfactor = 70);

CREATE TABLE rejections (
    device text COLLATE "C" NOT NULL,
    spool uuid NOT NULL,
    seq bigint NOT NULL,
    code text NOT NULL,
    PRIMARY KEY (device, spool, seq)
);

-- One partition for each day of receipt by the server's clock; the program makes them. No constraint spans
-- partitions: the ledger decides what is a duplicate.
CREATE TABLE events (
    received_day integer NOT NULL,
    device text COLLATE "C" NOT NULL,
    spool uuid NOT NULL,
    seq bigint NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL,
    vin text,
    traceparent text,
    time bigint NOT NULL,
    received_at bigint NOT NULL,
    digest bytea NOT NULL,
    -- As it came, byte by byte: signatures and Kafka depend on it.
    bytes bytea NOT NULL,
    -- 0 projected, 1 unprojected, 2 fenced
    standing smallint NOT NULL,
    reason text
) PARTITION BY RANGE (received_day);
CREATE INDEX events_place ON events (device, spool, seq);
CREATE INDEX events_unprojected ON events (received_at) WHERE standing = 1;
-- Bytes of events are near random or short: trying to compress each costs more than it saves.
ALTER TABLE events ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE TABLE holes (
    device text COLLATE "C" NOT NULL,
    spool uuid NOT NULL,
    from_seq bigint NOT NULL,
    to_seq bigint NOT NULL,
    reason text NOT NULL,
    bytes bytea NOT NULL,
    received_at bigint NOT NULL,
    PRIMARY KEY (device, spool, from_seq)
);

-- Other content for a position that is stored: kept aside.
CREATE TABLE conflicts (
    device text COLLATE "C" NOT NULL,
    spool uuid NOT NULL,
    seq bigint NOT NULL,
    digest bytea NOT NULL,
    bytes bytea NOT NULL,
    received_at bigint NOT NULL,
    PRIMARY KEY (device, spool, seq, digest)
);

CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device text NOT NULL,
    channel text NOT NULL,
    spool uuid,
    seq bigint,
    code text NOT NULL,
    reason text NOT NULL,
    user_properties text NOT NULL,
    bytes bytea NOT NULL,
    received_at bigint NOT NULL
);

-- Narrow: the relay joins the event. `seq` is drawn under a lock that lasts until the commit, so it is the order
-- of the commits (ADR 0010).
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token uuid NOT NULL,
    topic text NOT NULL,
    -- Which event.
    received_day integer NOT NULL,
    device text COLLATE "C" NOT NULL,
    spool uuid NOT NULL,
    event_seq bigint NOT NULL,
    -- Why Kafka will never take it.
    refused text
);
-- For a bench's ledger and for the end of a day.
CREATE INDEX outbox_event ON outbox (device, spool);
CREATE INDEX outbox_day ON outbox (received_day);

-- `seq` as in the outbox.
CREATE TABLE changes (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    id text NOT NULL,
    at bigint NOT NULL
);
CREATE TABLE changes_pruned (
    one boolean PRIMARY KEY CHECK (one),
    through bigint NOT NULL
);
INSERT INTO changes_pruned VALUES (true, 0);

CREATE TABLE alarms (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    device text COLLATE "C",
    detail text NOT NULL,
    count bigint NOT NULL,
    raised_at bigint NOT NULL,
    last_at bigint NOT NULL,
    UNIQUE (kind, subject)
);
CREATE INDEX alarms_last ON alarms (last_at, id);
