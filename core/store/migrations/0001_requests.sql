-- oldest: 1
-- Types in angle brackets are filled in by the dialect. Times are microseconds
-- since 1970 in UTC, 0 for none; durations are microseconds.

-- A submission that was accepted: one request, or several together.
CREATE TABLE batches (
  id          <id>,
  submitter   <text> NOT NULL,
  annotations <text>,
  -- How many members are in progress, and how many have failed.
  open        <int>  NOT NULL,
  failed      <int>  NOT NULL
) <table>;

-- What the list filters look at, in rows small enough to be read all at once.
CREATE TABLE requests (
  id            <id>,
  batch         <int>  NOT NULL REFERENCES batches (id),
  type          <text> NOT NULL,
  submitter     <text> NOT NULL,
  state         <text> NOT NULL,
  from_index    <text> NOT NULL,
  index_image   <text> NOT NULL,
  -- The newest rows of this request in history and revisions.
  position      <int>  NOT NULL,
  revision      <int>  NOT NULL,
  accepted      <int>  NOT NULL,
  organization  <text>,
  queue         <text> NOT NULL,
  target        <text> NOT NULL,
  overwrite     <bool> NOT NULL,
  cancel_reason <text> NOT NULL
) <table>;
CREATE INDEX requests_batch ON requests (batch, id);

-- The normalised parameters: written once, read by whoever runs the request.
CREATE TABLE submissions (
  request <int> PRIMARY KEY REFERENCES requests (id),
  params  <text> NOT NULL
) <table>;

-- Every state that a request was in, with the revision of its fields then.
CREATE TABLE history (
  request  <int>  NOT NULL REFERENCES requests (id),
  position <int>  NOT NULL,
  revision <int>  NOT NULL,
  time     <int>  NOT NULL,
  state    <text> NOT NULL,
  reason   <text> NOT NULL,
  PRIMARY KEY (request, position)
) <clustered>;

-- The values that a request showed. A row never changes, so that an event's
-- snapshot is a reference and not a copy.
CREATE TABLE revisions (
  request  <int>  NOT NULL REFERENCES requests (id),
  revision <int>  NOT NULL,
  arches   <text> NOT NULL,
  fields   <text> NOT NULL,
  PRIMARY KEY (request, revision)
) <clustered>;

-- Who runs a request. Its row is what every change of the request locks.
CREATE TABLE runs (
  request    <int>  PRIMARY KEY REFERENCES requests (id),
  open       <bool> NOT NULL,
  attempt    <int>  NOT NULL,
  epoch      <int>  NOT NULL,
  worker     <text> NOT NULL,
  -- beat grows with every renewal; a claim whose beat stands still for as long
  -- as its lease is dead.
  beat       <int>  NOT NULL,
  lease      <int>  NOT NULL,
  expires    <int>  NOT NULL,
  -- A delay counts only from released to not_before.
  released   <int>  NOT NULL,
  not_before <int>  NOT NULL
) <table>;
CREATE INDEX runs_open ON runs (request) WHERE open;

-- Sealed secrets and grants, gone when the request has ended.
CREATE TABLE secrets (
  request <int>   PRIMARY KEY REFERENCES requests (id),
  sealed  <bytes> NOT NULL
) <table>;

-- Every pull spec that a submission or a change has mentioned.
CREATE TABLE images (
  spec <text> PRIMARY KEY
) <clustered>;

CREATE TABLE idempotency (
  submitter <text> NOT NULL,
  key       <text> NOT NULL,
  digest    <text> NOT NULL,
  batch     <int>  NOT NULL REFERENCES batches (id),
  time      <int>  NOT NULL,
  PRIMARY KEY (submitter, key)
) <clustered>;

-- The row 'event' is updated last in a transaction that writes events, and so
-- held until it commits: sequences grow in the order of the commits.
CREATE TABLE counters (
  name  <text> PRIMARY KEY,
  value <int>  NOT NULL
) <clustered>;
INSERT INTO counters (name, value) VALUES ('event', 0);

-- The outbox. Kind 'touch' tells nobody anything but the list of requests: a
-- value that filters look at has changed without a new state.
CREATE TABLE events (
  sequence <int>  PRIMARY KEY,
  kind     <text> NOT NULL,
  time     <int>  NOT NULL,
  batch    <int>  NOT NULL REFERENCES batches (id),
  request  <int>  REFERENCES requests (id),
  position <int>  NOT NULL,
  state    <text> NOT NULL
) <table>;
CREATE INDEX events_request ON events (request, sequence) WHERE request IS NOT NULL;
