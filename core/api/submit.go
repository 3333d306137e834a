package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// IdempotencyHeader makes a repeated POST give the first one's answer.
const IdempotencyHeader = "Idempotency-Key"

const maxIdempotencyKey = 255

// submit is POST /builds/{type}.
func (s *server) submit(w http.ResponseWriter, r *http.Request) error {
	user, err := s.caller(r)
	if err != nil {
		return err
	}
	if err := s.limited(w, r, user); err != nil {
		return err
	}
	body, err := readObject(w, r, s.Settings().MaxBody)
	if err != nil {
		return err
	}
	item := core.SubmissionItem{Type: lastPart(r.URL.Path), Body: body}
	if isTrue(r.URL.Query().Get("dry_run")) {
		return s.preview(w, r, user, item)
	}
	sub, err := newSubmission(r, user, body, item)
	if err != nil {
		return err
	}
	requests, err := s.accept(r, sub)
	if err != nil {
		var fault *core.ItemError
		if errors.As(err, &fault) {
			return fault.Err
		}
		return err
	}
	answer, err := s.representation(r).JSON(requests[0], true)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, answer)
	return nil
}

// preview is POST /builds/{type}?dry_run=true.
func (s *server) preview(w http.ResponseWriter, r *http.Request, user string, item core.SubmissionItem) error {
	found, err := s.Engine.Preview(r.Context(), user, item)
	if err != nil {
		return err
	}
	answer := struct {
		Possible bool            `json:"possible"`
		Problems []string        `json:"problems"`
		Packages json.RawMessage `json:"packages"`
	}{len(found.Problems) == 0, found.Problems, found.Packages}
	if answer.Problems == nil {
		answer.Problems = []string{}
	}
	if len(answer.Packages) == 0 {
		answer.Packages = json.RawMessage("[]")
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// batch is POST /builds/regenerate-bundle-batch and its like.
func (s *server) batch(w http.ResponseWriter, r *http.Request) error {
	user, err := s.caller(r)
	if err != nil {
		return err
	}
	if err := s.limited(w, r, user); err != nil {
		return err
	}
	body, err := readObject(w, r, s.Settings().MaxBody)
	if err != nil {
		return err
	}
	if isTrue(r.URL.Query().Get("dry_run")) {
		return sdk.FieldErrorf("dry_run", "dry_run is not for batches: send the requests one by one")
	}
	items, annotations, err := readBatch(body, batches[lastPart(r.URL.Path)])
	if err != nil {
		return err
	}
	s.countBatch(r, user, len(items))
	sub, err := newSubmission(r, user, body, items...)
	if err != nil {
		return err
	}
	sub.Annotations = annotations
	requests, err := s.accept(r, sub)
	if err != nil {
		var fault *core.ItemError
		if errors.As(err, &fault) {
			return indexed(fault)
		}
		return err
	}
	representation := s.representation(r)
	answers := make([]json.RawMessage, 0, len(requests))
	for _, request := range requests {
		answer, err := representation.JSON(request, true)
		if err != nil {
			return err
		}
		answers = append(answers, answer)
	}
	writeJSON(w, http.StatusCreated, answers)
	return nil
}

func (s *server) accept(r *http.Request, sub *core.Submission) ([]*core.Request, error) {
	requests, repeated, err := s.Engine.Submit(r.Context(), sub)
	if sdk.CodeOf(err) == sdk.NotFound {
		return nil, s.notThere(err)
	}
	if err != nil {
		return nil, err
	}
	log := logger(r)
	for _, request := range requests {
		log.Info("request accepted", "request", request.ID, "type", request.Type, "queue", request.Queue, "repeated", repeated)
	}
	return requests, nil
}

func newSubmission(r *http.Request, user string, body json.RawMessage, items ...core.SubmissionItem) (*core.Submission, error) {
	sub := &core.Submission{User: user, Items: items, IdempotencyKey: r.Header.Get(IdempotencyHeader)}
	if len(sub.IdempotencyKey) > maxIdempotencyKey {
		return nil, sdk.FieldErrorf(IdempotencyHeader, "%s is longer than %d characters", IdempotencyHeader, maxIdempotencyKey)
	}
	if sub.IdempotencyKey != "" {
		sum := sha256.Sum256(append([]byte(r.URL.Path+"\n"), body...))
		sub.Digest = hex.EncodeToString(sum[:])
	}
	return sub, nil
}

// indexed puts an item's place before its fault.
func indexed(fault *core.ItemError) error {
	var coded *sdk.Error
	if !errors.As(fault.Err, &coded) {
		return fault.Err
	}
	with := *coded
	with.Message = fmt.Sprintf("build_requests[%d]: %s", fault.Index, coded.Message)
	return &with
}
