-- What became of stored events on their way to Kafka (delivery rule 23):
-- stored = in_kafka + already_in_kafka + unrelayable + expired + waiting.
ALTER TABLE spools ADD COLUMN in_kafka INTEGER NOT NULL DEFAULT 0;
ALTER TABLE spools ADD COLUMN already_in_kafka INTEGER NOT NULL DEFAULT 0;
ALTER TABLE spools ADD COLUMN unrelayable INTEGER NOT NULL DEFAULT 0;
ALTER TABLE spools ADD COLUMN expired INTEGER NOT NULL DEFAULT 0;

UPDATE spools SET in_kafka = max(0, stored - (
    SELECT count(*) FROM events e JOIN outbox o ON o.event = e.n
    WHERE e.device = spools.device AND e.spool = spools.spool
      AND o.seq > (SELECT relayed_through FROM meta)));

-- The trace context of the event, for the relay's header. Events stored before have none here.
ALTER TABLE events ADD COLUMN traceparent TEXT;
-- For retention: the oldest first.
CREATE INDEX events_received ON events (received_at);

-- Why Kafka will never take the row; NULL while it waits or once it was relayed.
ALTER TABLE outbox ADD COLUMN refused TEXT;

-- One relay at a time, and how far it came. The token is that of the row `relayed_seq`, nil before the first.
CREATE TABLE relay (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    owner TEXT,
    term INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    relayed_seq INTEGER NOT NULL,
    relayed_token BLOB NOT NULL
) STRICT;
INSERT INTO relay (one, owner, term, expires_at, relayed_seq, relayed_token)
SELECT 1, NULL, 0, 0, coalesce(max(m.relayed_through), 0),
    coalesce((SELECT token FROM outbox WHERE seq = (SELECT relayed_through FROM meta)), zeroblob(16))
FROM meta m;
ALTER TABLE meta DROP COLUMN relayed_through;

-- The highest position of each spool that Kafka had when the relay was reconciled after a restore.
CREATE TABLE kafka_highs (
    device TEXT NOT NULL,
    spool BLOB NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (device, spool)
) STRICT, WITHOUT ROWID;

CREATE TABLE replicas (
    owner TEXT PRIMARY KEY,
    broker TEXT NOT NULL,
    http TEXT NOT NULL,
    version TEXT NOT NULL,
    slots_ready INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A job in doubt that a person took over is not open any more.
DROP INDEX jobs_open;
CREATE INDEX jobs_open ON jobs (device)
    WHERE state IN ('offered', 'withdrawing', 'accepted', 'running')
        OR (state = 'finished' AND verdict = 'in_doubt');
