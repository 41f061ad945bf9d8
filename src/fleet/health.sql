-- Version 3: what machines say of themselves after they came up. `good` is 1 when all was well at the last check-in, and
-- `vitals` a JSON text; `alarm` is the problem that was known before.
ALTER TABLE sessions ADD COLUMN last_check_in BIGINT;
ALTER TABLE sessions ADD COLUMN first_good BIGINT;
ALTER TABLE sessions ADD COLUMN good BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN vitals TEXT;
ALTER TABLE sessions ADD COLUMN alarm TEXT;
UPDATE sessions SET last_check_in = step_at WHERE step = 'check-in';
UPDATE sessions SET first_good = step_at, good = 1 WHERE step = 'check-in' AND problems = '[]';
