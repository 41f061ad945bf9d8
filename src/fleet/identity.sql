-- Version 6: what machines say of their board, their case and their network cards, and who they are mistaken for; both
-- are JSON texts.
ALTER TABLE machines ADD COLUMN hardware TEXT;
ALTER TABLE machines ADD COLUMN conflicts TEXT;
