-- oldest: 7
-- What a worker that is free takes next: of the users with the fewest requests
-- running in its queue the one who was served longest ago, and of that user the
-- oldest request.
CREATE INDEX requests_open ON requests (queue, submitter, id) WHERE state = 'in_progress';
CREATE INDEX runs_held ON runs (request) WHERE open AND worker <> '';

-- A queue's row is locked by whoever takes a request from it.
CREATE TABLE queues (
  name   <text> PRIMARY KEY,
  -- How many requests were taken.
  served <int>  NOT NULL
) <clustered>;

-- The users of each queue.
CREATE TABLE shares (
  queue     <text> NOT NULL,
  submitter <text> NOT NULL,
  -- What queues.served was when the user's last request was taken, 0 for never;
  -- of those the user with the older first request, since, is first.
  served    <int>  NOT NULL,
  since     <int>  NOT NULL,
  -- False only if no request of the user could be taken, were it not for pauses.
  waiting   <bool> NOT NULL,
  PRIMARY KEY (queue, submitter)
) <clustered>;
CREATE INDEX shares_turn ON shares (queue, served, since, submitter) WHERE waiting;
INSERT INTO shares (queue, submitter, served, since, waiting)
  SELECT queue, submitter, 0, min(id), true FROM requests WHERE state = 'in_progress' GROUP BY queue, submitter;

-- The span of the submission, as the tracer carries it; empty for none.
ALTER TABLE runs ADD COLUMN trace <text> NOT NULL DEFAULT '';
