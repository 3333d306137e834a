package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// submission is a core.NewBatch that has been checked and put into the form of
// the columns.
type submission struct {
	annotations sql.NullString
	user        string
	key, digest string
	requests    []newRequest
	images      []string
}

type newRequest struct {
	request      core.Request
	params       string
	fields       string
	organization sql.NullString
	lane         string
	secrets      map[string]sdk.Secret
	grants       []sdk.Grant
}

// Create implements core.Submissions.
func (s *Store) Create(ctx context.Context, batch *core.NewBatch) ([]*core.Request, bool, error) {
	sub, err := newSubmission(batch)
	if err != nil {
		return nil, false, err
	}
	var requests []*core.Request
	var repeated bool
	err = s.write(ctx, func(t *tx) (err error) {
		requests, repeated, err = t.create(sub, s.ring)
		return err
	})
	if errors.Is(err, errRepeated) {
		// The same submission was stored by somebody else meanwhile.
		err = s.write(ctx, func(t *tx) (err error) {
			requests, repeated, err = t.create(sub, s.ring)
			return err
		})
	}
	if err != nil {
		return nil, false, s.fault(err, "store a submission")
	}
	return requests, repeated, nil
}

var errRepeated = errors.New("another submission with this idempotency key is being stored")

// newSubmission checks a batch and makes everything that needs no transaction.
func newSubmission(batch *core.NewBatch) (*submission, error) {
	if len(batch.Requests) == 0 {
		return nil, sdk.Errorf(sdk.Invalid, "a batch must have at least one request")
	}
	sub := &submission{user: text(batch.User), key: text(batch.IdempotencyKey), digest: batch.Digest}
	if len(batch.Annotations) > 0 && string(batch.Annotations) != "null" {
		annotations, err := object("annotations", batch.Annotations)
		if err != nil {
			return nil, err
		}
		sub.annotations = sql.NullString{String: annotations, Valid: true}
	}
	var images []string
	for i := range batch.Requests {
		r, err := newStored(batch, &batch.Requests[i])
		if err != nil {
			return nil, err
		}
		sub.requests = append(sub.requests, *r)
		images = append(images, batch.Requests[i].Images...)
	}
	sub.images = texts(images)
	return sub, nil
}

func newStored(batch *core.NewBatch, n *core.NewRequest) (*newRequest, error) {
	params, err := object("params", n.Params)
	if err != nil {
		return nil, err
	}
	fields := n.Fields
	if fields == nil {
		fields = map[string]json.RawMessage{}
	}
	encoded, err := encode(fields)
	if err != nil {
		return nil, err
	}
	r := &newRequest{params: params, fields: encoded, lane: text(n.Lane), secrets: n.Secrets, grants: n.Grants}
	if organization := core.FieldText(fields, "organization"); organization != "" {
		r.organization = sql.NullString{String: text(organization), Valid: true}
	}
	r.request = core.Request{
		Request: sdk.Request{
			Type:      text(n.Type),
			User:      text(batch.User),
			Queue:     text(n.Queue),
			Target:    text(n.Target),
			Overwrite: n.Overwrite,
			Params:    json.RawMessage(params),
		},
		Trace:   text(n.Trace),
		History: []core.StateEntry{{State: core.InProgress, Reason: text(n.Reason)}},
	}
	return r, nil
}

// create stores a submission, or finds it stored.
func (t *tx) create(sub *submission, ring keyring) (requests []*core.Request, repeated bool, err error) {
	if sub.key != "" {
		requests, err := t.earlier(sub)
		if err != nil || requests != nil {
			return requests, true, err
		}
	}
	var batch int64
	err = t.row(`INSERT INTO batches (submitter, annotations, open, failed) VALUES ($1, $2, $3, 0) RETURNING id`,
		sub.user, sub.annotations, len(sub.requests)).Scan(&batch)
	if err != nil {
		return nil, false, err
	}
	if sub.key != "" {
		stored, err := t.affect(`INSERT INTO idempotency (submitter, key, digest, batch, time)
			VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`, sub.user, sub.key, sub.digest, batch, micros(t.now))
		if err != nil {
			return nil, false, err
		}
		if !stored {
			return nil, false, errRepeated
		}
	}
	for i := range sub.requests {
		r, err := t.createRequest(sub, batch, &sub.requests[i])
		if err != nil {
			return nil, false, err
		}
		requests = append(requests, r)
	}
	if err := t.createDetails(sub, requests, ring); err != nil {
		return nil, false, err
	}
	if err := t.addImages(sub.images); err != nil {
		return nil, false, err
	}
	if err := t.createShares(requests); err != nil {
		return nil, false, err
	}
	for _, r := range requests {
		t.notes = append(t.notes, note{
			kind: core.RequestEvent, time: t.now, batch: batch, request: r.ID, position: 1, state: core.InProgress,
		})
	}
	t.notes = append(t.notes, note{kind: core.BatchEvent, time: t.now, batch: batch, state: core.InProgress})
	return requests, false, nil
}

// earlier returns what was stored under the submission's key, nil if nothing.
func (t *tx) earlier(sub *submission) ([]*core.Request, error) {
	var digest string
	var batch int64
	err := t.row(`SELECT digest, batch FROM idempotency WHERE submitter = $1 AND key = $2`, sub.user, sub.key).
		Scan(&digest, &batch)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if digest != sub.digest {
		return nil, sdk.Errorf(sdk.Conflict, "the idempotency key %q was used for another submission: "+
			"send the same body again, or a new key", sub.key)
	}
	requests, err := t.requests(`WHERE r.batch = $1 ORDER BY r.id`, batch)
	if err != nil {
		return nil, err
	}
	for _, r := range requests {
		if err := t.addHistory(r); err != nil {
			return nil, err
		}
	}
	return requests, nil
}

func (t *tx) createRequest(sub *submission, batch int64, n *newRequest) (*core.Request, error) {
	r := n.request
	r.Batch = batch
	r.Accepted = t.now
	r.History = slices.Clone(r.History)
	r.History[0].Time = t.now
	r.Arches = []string{}
	if sub.annotations.Valid {
		r.BatchAnnotations = json.RawMessage(sub.annotations.String)
	}
	if err := decode(n.fields, &r.Fields); err != nil {
		return nil, err
	}
	err := t.row(`INSERT INTO requests (batch, type, submitter, state, from_index, index_image, position, revision,
			accepted, organization, queue, target, overwrite, cancel_reason)
		VALUES ($1, $2, $3, $4, $5, $6, 1, 1, $7, $8, $9, $10, $11, '') RETURNING id`,
		batch, r.Type, r.User, core.InProgress, text(core.FieldText(r.Fields, "from_index")),
		text(core.FieldText(r.Fields, "index_image")), micros(t.now), n.organization, r.Queue, r.Target, r.Overwrite).
		Scan(&r.ID)
	return &r, err
}

// createDetails writes the rows that belong to the requests, table by table.
func (t *tx) createDetails(sub *submission, requests []*core.Request, ring keyring) error {
	var submissions, revisions, history, runs, secrets [][]any
	for i, r := range requests {
		n := &sub.requests[i]
		submissions = append(submissions, []any{r.ID, n.params})
		revisions = append(revisions, []any{r.ID, 1, "[]", n.fields})
		history = append(history, []any{r.ID, 1, 1, micros(t.now), core.InProgress, r.History[0].Reason})
		runs = append(runs, []any{r.ID, true, 0, 0, "", 0, 0, 0, 0, 0, n.lane, r.Trace})
		if len(n.secrets) > 0 || len(n.grants) > 0 {
			sealed, err := ring.seal(r.ID, n.secrets, n.grants)
			if err != nil {
				return err
			}
			secrets = append(secrets, []any{r.ID, sealed})
		}
	}
	for _, table := range []struct {
		head string
		rows [][]any
	}{
		{`INSERT INTO submissions (request, params)`, submissions},
		{`INSERT INTO revisions (request, revision, arches, fields)`, revisions},
		{`INSERT INTO history (request, position, revision, time, state, reason)`, history},
		{`INSERT INTO runs (request, open, attempt, epoch, worker, beat, lease, expires, released, not_before, lane, trace)`, runs},
		{`INSERT INTO secrets (request, sealed)`, secrets},
	} {
		if err := t.insert(table.head, table.rows, ""); err != nil {
			return err
		}
	}
	return nil
}

// createShares notes whose requests wait, and in which queues; in the order of
// their names, like all who lock those rows.
func (t *tx) createShares(requests []*core.Request) error {
	first := make(map[string]*core.Request)
	for _, r := range requests {
		if first[r.Queue] == nil {
			first[r.Queue] = r
		}
	}
	for _, queue := range slices.Sorted(maps.Keys(first)) {
		if err := t.waits(queue, first[queue].User, first[queue].ID); err != nil {
			return err
		}
	}
	return nil
}

// addImages remembers pull specs, given as texts returns them.
func (t *tx) addImages(images []string) error {
	rows := make([][]any, len(images))
	for i, image := range images {
		rows[i] = []any{image}
	}
	return t.insert(`INSERT INTO images (spec)`, rows, ` ON CONFLICT DO NOTHING`)
}
