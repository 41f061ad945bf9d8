-- Version 2: what happened at each boot, and boots that are sent to something else than a bundle.
-- Rows of `events` are only added, and the oldest of a machine go when it has too many; `boot` is the boot's `started`,
-- `took` the milliseconds that transfers took, and every row says how its step stood at the time `at`.
CREATE TABLE events (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    mac    TEXT NOT NULL,
    boot   BIGINT NOT NULL,
    at     BIGINT NOT NULL,
    step   TEXT NOT NULL,
    began  BIGINT NOT NULL,
    asked  BIGINT NOT NULL,
    files  BIGINT NOT NULL,
    broken BIGINT NOT NULL,
    bytes  BIGINT NOT NULL,
    took   BIGINT NOT NULL,
    remark TEXT
);
CREATE INDEX events_by_machine ON events (mac, id);
ALTER TABLE sessions ADD COLUMN sent_to TEXT;
UPDATE sessions SET step = 'site-initrd' WHERE step = 'overlay';
