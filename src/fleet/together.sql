-- Version 7: steps of one boot that are written at the same time have one row, which is that of the last of them; `earlier`
-- has the others in their order, a JSON text.
ALTER TABLE events ADD COLUMN earlier TEXT;
