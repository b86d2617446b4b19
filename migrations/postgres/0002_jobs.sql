-- Jobs, the hold on a vehicle, attempts, steps, procedures and artifacts.
-- Names and ids are compared byte by byte, whatever the database's own collation is.

CREATE TABLE jobs (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    request_id text COLLATE "C",
    requested_by text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    vin text COLLATE "C" NOT NULL,
    ecu text NOT NULL,
    procedure_id text NOT NULL,
    procedure_version text NOT NULL,
    procedure_sha256 text NOT NULL,
    artifacts text NOT NULL,
    parameters text NOT NULL,
    wanted_device text COLLATE "C",
    start_within_s bigint NOT NULL,
    deadline bigint,
    priority integer NOT NULL,
    traceparent text,
    retry_of uuid,
    retry_reason text,
    reported boolean NOT NULL,
    state text COLLATE "C" NOT NULL,
    parked text,
    verdict text COLLATE "C",
    reason_code text,
    detail text,
    attempt bigint NOT NULL,
    fence bigint NOT NULL,
    device text COLLATE "C",
    offer_id uuid,
    withdraw_target text COLLATE "C",
    withdraw_version bigint,
    withdraw_reason text,
    steps_total bigint,
    steps_done bigint NOT NULL DEFAULT 0,
    software text NOT NULL,
    fenced_events bigint NOT NULL,
    decided_by text,
    created_at bigint NOT NULL,
    offered_at bigint,
    accepted_at bigint,
    started_at bigint,
    finished_at bigint,
    -- A bench that must be told that the job was taken from it, and the first list that says so.
    fenced_device text COLLATE "C",
    fenced_version bigint,
    UNIQUE (requested_by, request_id)
);
-- Lists, newest first.
CREATE INDEX jobs_state ON jobs (state, n);
CREATE INDEX jobs_vin ON jobs (vin, n);
CREATE INDEX jobs_device ON jobs (device, n);
CREATE INDEX jobs_wanted ON jobs (wanted_device, n) WHERE device IS NULL;
-- Dispatch.
CREATE INDEX jobs_queue ON jobs (priority DESC, n) WHERE state = 'queued';
CREATE INDEX jobs_deadline ON jobs (deadline) WHERE state IN ('queued', 'offered', 'withdrawing');
CREATE INDEX jobs_open ON jobs (device)
    WHERE state IN ('offered', 'withdrawing', 'accepted', 'running')
        OR (state = 'finished' AND verdict = 'in_doubt');
CREATE INDEX jobs_fenced ON jobs (fenced_device) WHERE fenced_device IS NOT NULL;

-- One VIN, one bench.
CREATE TABLE vin_leases (
    vin text COLLATE "C" PRIMARY KEY,
    job uuid NOT NULL,
    device text COLLATE "C" NOT NULL,
    fence bigint NOT NULL
);
CREATE INDEX vin_leases_job ON vin_leases (job);

CREATE TABLE attempts (
    job uuid NOT NULL,
    attempt bigint NOT NULL,
    fence bigint NOT NULL,
    device text COLLATE "C" NOT NULL,
    offer_id uuid,
    offered_at bigint,
    accepted_at bigint,
    started_at bigint,
    finished_at bigint,
    verdict text,
    reason_code text,
    detail text,
    steps_total bigint,
    software text NOT NULL DEFAULT '{}',
    record text,
    fenced boolean NOT NULL DEFAULT false,
    PRIMARY KEY (job, attempt, fence)
);

CREATE TABLE steps (
    job uuid NOT NULL,
    attempt bigint NOT NULL,
    fence bigint NOT NULL,
    step_index bigint NOT NULL,
    step text NOT NULL,
    name text NOT NULL,
    outcome text NOT NULL,
    started_at bigint NOT NULL,
    finished_at bigint NOT NULL,
    duration_ms bigint NOT NULL,
    retries bigint NOT NULL,
    nrc integer,
    detail text,
    -- json and not jsonb: the list stays as the bench wrote it.
    measurements json NOT NULL,
    PRIMARY KEY (job, attempt, fence, step_index)
);

-- A version never changes.
CREATE TABLE procedures (
    id text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    sha256 text NOT NULL,
    yaml text NOT NULL,
    created_at bigint NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (id, version)
);

CREATE TABLE artifacts (
    name text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    created_at bigint NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (name, version)
);
