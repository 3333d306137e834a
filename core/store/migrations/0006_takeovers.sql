-- oldest: 6
-- How many of the attempts ended with their worker. A program that does not know
-- this column counts them among all others.
ALTER TABLE runs ADD COLUMN takeovers <int> NOT NULL DEFAULT 0;
