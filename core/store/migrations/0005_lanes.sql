-- oldest: 5
-- Requests of one lane run one after another, in the order of their IDs. Empty
-- is none. A program that does not know lanes adds none.
ALTER TABLE runs ADD COLUMN lane <text> NOT NULL DEFAULT '';
CREATE INDEX runs_lane ON runs (lane, request) WHERE open AND lane <> '';
