-- oldest: 9
-- What each migration says in its first line: the lowest version of this schema
-- that a program must know to work on it. Programs of a lower one than this
-- refuse all that is newer than they are, so that older rows need to say nothing.
ALTER TABLE migrations ADD COLUMN oldest <int> NOT NULL DEFAULT 0;
