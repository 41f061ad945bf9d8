-- Version 4: the ledger, to which rows are only ever added, numbered from 1 on without gaps; `fact` is a JSON text. Also
-- how often each machine was given the script of a bundle without coming up with it (`attempts`, a JSON text), when a
-- boot was given its script, and since when it is as well as it is.
CREATE TABLE ledger (
    number BIGINT PRIMARY KEY,
    at     BIGINT NOT NULL,
    who    TEXT NOT NULL,
    why    TEXT,
    fact   TEXT NOT NULL
);
ALTER TABLE machines ADD COLUMN attempts TEXT;
ALTER TABLE sessions ADD COLUMN scripted BIGINT;
ALTER TABLE sessions ADD COLUMN health_since BIGINT;
