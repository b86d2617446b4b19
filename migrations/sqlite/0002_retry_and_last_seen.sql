-- The job that a job repeats at a person's wish, and why.
ALTER TABLE jobs ADD COLUMN retry_of BLOB;
ALTER TABLE jobs ADD COLUMN retry_reason TEXT;
CREATE INDEX jobs_retry ON jobs (retry_of) WHERE retry_of IS NOT NULL;

-- When the change log last told of the bench only because it was heard.
ALTER TABLE devices ADD COLUMN told_at INTEGER NOT NULL DEFAULT 0;
