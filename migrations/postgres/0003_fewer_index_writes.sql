-- What each event costs, measured by docs/benchmarks.md.

-- A job's row changes with each of its steps: with room on its page the new version needs no entry in any of the
-- table's eleven indexes.
ALTER TABLE jobs SET (fillfactor = 50);
ALTER TABLE attempts SET (fillfactor = 70);

-- Two index entries for each event, for questions that are asked seldom: what waits of one spool follows from its
-- counters, and a day's rows are looked for once a day, among those that wait.
DROP INDEX outbox_event;
DROP INDEX outbox_day;

-- Asked with each batch for all of its benches.
CREATE INDEX jobs_withdrawing ON jobs (device) WHERE state = 'withdrawing';
