-- Several servers on one database. Whoever writes machines takes the next number of `changes` first and keeps it locked
-- until he has committed, so the numbers are in the order of commits; `touched` says of each machine in which change it was
-- written last, and by whom: a number that each server draws when it starts. The tables of files that were made from
-- templates are older than this: `made` has each content once, and `last_made` says which ones a machine was given last.
CREATE TABLE changes (last BIGINT NOT NULL);
INSERT INTO changes (last) VALUES (0);
CREATE TABLE touched (
    mac    TEXT PRIMARY KEY,
    change BIGINT NOT NULL,
    writer BIGINT NOT NULL
);
CREATE INDEX touched_by_change ON touched (change);
CREATE TABLE IF NOT EXISTS made (files TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS last_made (
    mac     TEXT PRIMARY KEY,
    profile TEXT NOT NULL,
    release BIGINT NOT NULL,
    bundle  TEXT NOT NULL,
    files   TEXT NOT NULL
);
