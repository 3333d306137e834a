-- oldest: 4
-- The tags that engines moved themselves.
CREATE TABLE tag_moves (
  id      <id>,
  spec    <text> NOT NULL,
  -- Digests: what the tag was and what it became, empty for nothing.
  origin  <text> NOT NULL,
  target  <text> NOT NULL,
  kind    <text> NOT NULL,
  -- The claim that it is moved under, 0 for none.
  request <int>  NOT NULL,
  epoch   <int>  NOT NULL,
  mover   <text> NOT NULL,
  time    <int>  NOT NULL,
  -- 'open' while it is under way, 'unsure' if whoever moved it died, 'made'.
  state   <text> NOT NULL
) <table>;
CREATE INDEX tag_moves_spec ON tag_moves (spec, id) WHERE state = 'made';
CREATE UNIQUE INDEX tag_moves_open ON tag_moves (spec) WHERE state = 'open';
CREATE INDEX tag_moves_unsure ON tag_moves (spec) WHERE state = 'unsure';

-- Events belong to batches. Batch 0 is that of events about tags, whose position
-- is the ID of the move.
INSERT INTO batches (id, submitter, annotations, open, failed) <given id> VALUES (0, '', NULL, 0, 0);
