-- oldest: 3
-- Who wants to hear of events, how far each has been told, and who is telling.
CREATE TABLE notifiers (
  name      <text> PRIMARY KEY,
  -- Every event up to here was delivered or has a row in deliveries.
  cursor    <int>  NOT NULL,
  epoch     <int>  NOT NULL,
  worker    <text> NOT NULL,
  beat      <int>  NOT NULL,
  lease     <int>  NOT NULL,
  expires   <int>  NOT NULL,
  delivered <int>  NOT NULL,
  failed    <int>  NOT NULL,
  error     <text> NOT NULL
) <clustered>;

-- Events that a notifier has not taken yet. A row lives as long as that.
CREATE TABLE deliveries (
  notifier   <text> NOT NULL REFERENCES notifiers (name),
  sequence   <int>  NOT NULL REFERENCES events (sequence),
  batch      <int>  NOT NULL,
  -- hand is the epoch of the turn that has it in hand, 0 if none.
  hand       <int>  NOT NULL,
  attempts   <int>  NOT NULL,
  parked     <bool> NOT NULL,
  -- A delay counts only from tried to not_before.
  tried      <int>  NOT NULL,
  not_before <int>  NOT NULL,
  error      <text> NOT NULL,
  PRIMARY KEY (notifier, sequence)
) <clustered>;
