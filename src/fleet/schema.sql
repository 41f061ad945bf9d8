-- The fleet database as it began, version 1; what came later is in migrations of its own. Times are milliseconds since 1970; lists are JSON texts.
CREATE TABLE machines (
    mac        TEXT PRIMARY KEY,
    uuid       TEXT,
    serial     TEXT,
    platform   TEXT,
    buildarch  TEXT,
    first_seen BIGINT NOT NULL,
    last_seen  BIGINT NOT NULL
);
CREATE TABLE sessions (
    token    TEXT PRIMARY KEY,
    mac      TEXT NOT NULL REFERENCES machines (mac),
    started  BIGINT NOT NULL,
    profile  TEXT,
    release  BIGINT,
    bundle   TEXT,
    step     TEXT NOT NULL,
    step_at  BIGINT NOT NULL,
    report   TEXT,
    problems TEXT
);
CREATE INDEX sessions_by_machine ON sessions (mac, started);
