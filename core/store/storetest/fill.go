// Package storetest fills a database as years of use would, for benchmarks.
package storetest

import (
	"fmt"
	"strings"
)

// Values that Fill spreads over the requests.
const (
	Users   = 50
	Indexes = 200
)

// Types are the request types that Fill spreads over the requests.
var Types = []string{
	"add", "rm", "regenerate-bundle", "merge-index-image",
	"create-empty-index", "recursive-related-bundles", "fbc-operations", "add-deprecations",
}

// User, Index and Image are the i-th user, index and image of its own that
// Fill writes.
func User(i int) string  { return fmt.Sprintf("user-%d", i) }
func Index(i int) string { return fmt.Sprintf("registry.test/namespace/index:v4.%d", i) }
func Image(i int) string { return fmt.Sprintf("registry.test/iib/build:%d", i) }

// Fill writes n requests into an empty, migrated database, by SQL: in batches of one to
// ten, nine of ten ended, half of those with an image of their own. Those that
// have not ended wait for a time that never comes.
func Fill(n int, exec func(query string, args ...any) error) error {
	const numbers = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) `
	types := `CASE i * 7 % 8 `
	for i, t := range Types {
		types += fmt.Sprintf("WHEN %d THEN '%s' ", i, t)
	}
	types += `END`
	for _, query := range []string{
		numbers + `INSERT INTO batches (submitter, open, failed) SELECT 'user-' || (i % 50), 0, 0 FROM n`,
		numbers + `INSERT INTO requests (batch, type, submitter, state, from_index, index_image, position, revision, accepted,
			queue, target, overwrite, cancel_reason)
		SELECT 1 + (i - 1) / (1 + i % 10), ` + types + `, 'user-' || (i % 50),
			CASE WHEN i % 10 = 0 THEN 'in_progress' WHEN i % 3 = 0 THEN 'failed' ELSE 'complete' END,
			'registry.test/namespace/index:v4.' || (i * 31 % 200),
			CASE WHEN i % 10 = 0 THEN '' WHEN i % 2 = 0 THEN 'registry.test/iib/build:' || i
				ELSE 'registry.test/namespace/index:v4.' || (i * 31 % 200) END,
			2, 1, 1700000000000000 + i, 'default', '', $2, '' FROM n`,
		numbers + `INSERT INTO submissions (request, params) SELECT i, '{"bundles":["registry.test/namespace/bundle:' || i || '"]}' FROM n`,
		numbers + `INSERT INTO revisions (request, revision, arches, fields)
			SELECT i, 1, '["amd64","arm64","ppc64le","s390x"]', '{"bundles":["registry.test/namespace/bundle:' || i || '"]}' FROM n`,
		numbers + `INSERT INTO history (request, position, revision, time, state, reason)
			SELECT i, 1, 1, 1700000000000000 + i, 'in_progress', 'accepted' FROM n`,
		`INSERT INTO history (request, position, revision, time, state, reason)
			SELECT id, 2, 1, accepted + 1, state, 'next' FROM requests`,
		`INSERT INTO runs (request, open, attempt, epoch, worker, beat, lease, expires, released, not_before)
			SELECT id, state = 'in_progress', 1, 1, '', 0, 0, 0, 0, 9000000000000000 FROM requests`,
		`INSERT INTO images (spec) SELECT DISTINCT from_index FROM requests`,
		`INSERT INTO images (spec) SELECT DISTINCT index_image FROM requests WHERE index_image LIKE 'registry.test/iib/%'`,
		`INSERT INTO events (sequence, kind, time, batch, request, position, state)
			SELECT id, 'request', accepted, batch, id, 2, state FROM requests`,
		`UPDATE counters SET value = (SELECT max(sequence) FROM events) WHERE name = 'event'`,
	} {
		var args []any
		if strings.HasPrefix(query, numbers) {
			args = append(args, n)
		}
		if strings.Contains(query, "$2") {
			args = append(args, false)
		}
		if err := exec(query, args...); err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
	}
	return nil
}
