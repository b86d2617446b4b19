-- Figures that metrics and readiness ask for every few seconds, kept in the transaction that changes them: counting
-- the rows takes longer the more there are. Each change is a row of its own and the clean-up folds them: a row that
-- every transaction updates would make them wait for each other.
CREATE TABLE figures (
    name text COLLATE "C" NOT NULL,
    n bigint NOT NULL
);
INSERT INTO figures SELECT 'dead_letters', count(*) FROM dead_letters;
INSERT INTO figures SELECT 'unprojected', count(*) FROM events WHERE standing = 1;

CREATE FUNCTION count_dead_letters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO figures SELECT 'dead_letters', count(*) FROM came HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER dead_letters_counted AFTER INSERT ON dead_letters
    REFERENCING NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION count_dead_letters();

-- Since when the lowest position that is not settled stays so; NULL where nothing is outstanding.
ALTER TABLE spools ADD COLUMN outstanding_since bigint;
UPDATE spools SET outstanding_since = (extract(epoch FROM now()) * 1000000)::bigint WHERE announced > through;
CREATE INDEX spools_outstanding ON spools (outstanding_since) WHERE outstanding_since IS NOT NULL;
