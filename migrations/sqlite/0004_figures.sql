-- Figures that metrics and readiness ask for every few seconds, kept in the transaction that changes them: counting
-- the rows takes longer the more there are.
CREATE TABLE figures (
    name TEXT PRIMARY KEY,
    n INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO figures SELECT 'job ' || state, count(*) FROM jobs GROUP BY state;
INSERT INTO figures SELECT 'dead_letters', count(*) FROM dead_letters;
INSERT INTO figures SELECT 'unprojected', count(*) FROM events WHERE standing = 1;

-- Not INSERT OR IGNORE: the policy of the statement that fires a trigger goes before its own.
CREATE TRIGGER jobs_counted AFTER INSERT ON jobs BEGIN
    INSERT INTO figures SELECT 'job ' || new.state, 0
    WHERE NOT EXISTS (SELECT 1 FROM figures WHERE name = 'job ' || new.state);
    UPDATE figures SET n = n + 1 WHERE name = 'job ' || new.state;
END;
CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN old.state <> new.state BEGIN
    INSERT INTO figures SELECT 'job ' || new.state, 0
    WHERE NOT EXISTS (SELECT 1 FROM figures WHERE name = 'job ' || new.state);
    UPDATE figures SET n = n - 1 WHERE name = 'job ' || old.state;
    UPDATE figures SET n = n + 1 WHERE name = 'job ' || new.state;
END;
CREATE TRIGGER jobs_gone AFTER DELETE ON jobs BEGIN
    UPDATE figures SET n = n - 1 WHERE name = 'job ' || old.state;
END;
CREATE TRIGGER dead_letters_counted AFTER INSERT ON dead_letters BEGIN
    UPDATE figures SET n = n + 1 WHERE name = 'dead_letters';
END;
CREATE TRIGGER dead_letters_gone AFTER DELETE ON dead_letters BEGIN
    UPDATE figures SET n = n - 1 WHERE name = 'dead_letters';
END;
CREATE TRIGGER unprojected_counted AFTER INSERT ON events WHEN new.standing = 1 BEGIN
    UPDATE figures SET n = n + 1 WHERE name = 'unprojected';
END;
CREATE TRIGGER unprojected_moved AFTER UPDATE OF standing ON events WHEN old.standing <> new.standing BEGIN
    UPDATE figures SET n = n + (new.standing = 1) - (old.standing = 1) WHERE name = 'unprojected';
END;
CREATE TRIGGER unprojected_gone AFTER DELETE ON events WHEN old.standing = 1 BEGIN
    UPDATE figures SET n = n - 1 WHERE name = 'unprojected';
END;

-- Since when the lowest position that is not settled stays so; NULL where nothing is outstanding.
ALTER TABLE spools ADD COLUMN outstanding_since INTEGER;
UPDATE spools SET outstanding_since = unixepoch() * 1000000 WHERE announced > through;
CREATE INDEX spools_outstanding ON spools (outstanding_since) WHERE outstanding_since IS NOT NULL;
