-- oldest: 2
-- Names that one claim at a time holds: the claim of this request with this
-- epoch, for as long as that claim is in force.
CREATE TABLE locks (
  name    <text> PRIMARY KEY,
  request <int>  NOT NULL REFERENCES requests (id),
  epoch   <int>  NOT NULL
) <clustered>;
