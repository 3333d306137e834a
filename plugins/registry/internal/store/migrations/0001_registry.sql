-- What the registry knows, but for the bytes of blobs. Times are milliseconds
-- since 1970 in UTC.

CREATE TABLE repositories (
	id       INTEGER PRIMARY KEY,
	name     TEXT    NOT NULL UNIQUE,
	-- clock is the latest time that a row of tags has been given. It never goes
	-- back, even if the machine's clock does.
	clock    INTEGER NOT NULL DEFAULT 0,
	-- changes counts what may alter which manifests are kept, so that a
	-- collection notices that it was overtaken. It also numbers the history.
	changes  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A blob that is stored completely: a small one here, a large one in a file,
-- which is synced.
CREATE TABLE blobs (
	digest  TEXT    PRIMARY KEY,
	size    INTEGER NOT NULL,
	-- content is null if it is in a file.
	content BLOB
) STRICT;

-- A blob that a repository has. A hidden link belongs to a blob that was
-- deleted while a manifest in the history still needs it.
CREATE TABLE links (
	repository INTEGER NOT NULL REFERENCES repositories,
	digest     TEXT    NOT NULL REFERENCES blobs,
	-- touched is the last time that a client was told that the blob is there.
	touched    INTEGER NOT NULL,
	hidden     INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX links_by_digest ON links (digest);
CREATE INDEX links_by_age ON links (repository, touched);

-- Blobs without a link, which are still to be removed.
CREATE TABLE doomed (
	digest TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE manifests (
	id            INTEGER PRIMARY KEY,
	repository    INTEGER NOT NULL REFERENCES repositories,
	digest        TEXT    NOT NULL,
	media_type    TEXT    NOT NULL,
	size          INTEGER NOT NULL,
	list          INTEGER NOT NULL,
	-- layers is the sum of the layers' sizes; null for a list.
	layers        INTEGER,
	artifact_type TEXT    NOT NULL,
	annotations   TEXT    NOT NULL,
	subject       TEXT,
	-- expires_after is the life that the image's label gives to its tags.
	expires_after INTEGER,
	immutable     INTEGER NOT NULL DEFAULT 0,
	-- touched is the last time that a client was told that it is there.
	touched       INTEGER NOT NULL,
	-- hidden manifests were deleted and are there for the history's sake.
	hidden        INTEGER NOT NULL DEFAULT 0,
	content       BLOB    NOT NULL,
	UNIQUE (repository, digest)
) STRICT;
CREATE INDEX manifests_by_age ON manifests (repository, touched);
CREATE INDEX manifests_by_subject ON manifests (repository, subject, digest) WHERE subject IS NOT NULL;

-- What a manifest names: blobs, and children, which are manifests. Absent ones
-- were not there when it was pushed, and need not be.
CREATE TABLE needs (
	repository INTEGER NOT NULL,
	manifest   INTEGER NOT NULL REFERENCES manifests ON DELETE CASCADE,
	digest     TEXT    NOT NULL,
	child      INTEGER NOT NULL,
	absent     INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (manifest, child, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX needs_by_digest ON needs (repository, digest, child);

-- The history: one row for each period in which a name meant a manifest. A
-- repository's rows are numbered, with gaps, in the order of their starts.
CREATE TABLE tags (
	id         INTEGER PRIMARY KEY,
	repository INTEGER NOT NULL REFERENCES repositories,
	number     INTEGER NOT NULL,
	name       TEXT    NOT NULL,
	digest     TEXT    NOT NULL,
	starts     INTEGER NOT NULL,
	ends       INTEGER,
	reversion  INTEGER NOT NULL DEFAULT 0,
	hidden     INTEGER NOT NULL DEFAULT 0,
	immutable  INTEGER NOT NULL DEFAULT 0,
	UNIQUE (repository, name, ends)
) STRICT;
CREATE UNIQUE INDEX tags_open ON tags (repository, name) WHERE hidden = 0 AND ends IS NULL;
CREATE UNIQUE INDEX tags_history ON tags (repository, number) WHERE hidden = 0;
CREATE INDEX tags_endless ON tags (repository, number) WHERE hidden = 0 AND ends IS NULL;
CREATE INDEX tags_by_end ON tags (repository, hidden, ends) WHERE ends IS NOT NULL;
CREATE INDEX tags_by_name ON tags (repository, name, number) WHERE hidden = 0;
CREATE INDEX tags_by_digest ON tags (repository, digest);

-- How many listed rows lie in each run of 1024 numbers: what makes page 10,000
-- of a history as quick as page 1.
CREATE TABLE tag_counts (
	repository INTEGER NOT NULL,
	run        INTEGER NOT NULL,
	n          INTEGER NOT NULL,
	PRIMARY KEY (repository, run)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER tag_counted AFTER INSERT ON tags WHEN NEW.hidden = 0 BEGIN
	INSERT INTO tag_counts (repository, run, n) VALUES (NEW.repository, NEW.number >> 10, 1)
	ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER tag_uncounted AFTER DELETE ON tags WHEN OLD.hidden = 0 BEGIN
	UPDATE tag_counts SET n = n - 1 WHERE repository = OLD.repository AND run = OLD.number >> 10;
	DELETE FROM tag_counts WHERE repository = OLD.repository AND run = OLD.number >> 10 AND n = 0;
END;

-- The distinct names of a history, with the number of their rows.
CREATE TABLE tag_names (
	repository INTEGER NOT NULL,
	name       TEXT    NOT NULL,
	n          INTEGER NOT NULL,
	PRIMARY KEY (repository, name)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER tag_named AFTER INSERT ON tags WHEN NEW.hidden = 0 BEGIN
	INSERT INTO tag_names (repository, name, n) VALUES (NEW.repository, NEW.name, 1)
	ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER tag_unnamed AFTER DELETE ON tags WHEN OLD.hidden = 0 BEGIN
	UPDATE tag_names SET n = n - 1 WHERE repository = OLD.repository AND name = OLD.name;
	DELETE FROM tag_names WHERE repository = OLD.repository AND name = OLD.name AND n = 0;
END;

CREATE TABLE audit (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	repository INTEGER NOT NULL REFERENCES repositories,
	at         INTEGER NOT NULL,
	kind       TEXT    NOT NULL,
	performer  TEXT    NOT NULL,
	address    TEXT    NOT NULL,
	metadata   TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_by_repository ON audit (repository);
CREATE INDEX audit_by_age ON audit (at);
