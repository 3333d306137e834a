package quay

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/access"
	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// maxBody is more than any request of this API needs.
const maxBody = 1 << 20

// members reads the body, a JSON object.
func (c *call) members() (map[string]json.RawMessage, error) {
	body, err := io.ReadAll(io.LimitReader(c.r.Body, maxBody+1))
	if err != nil {
		return nil, invalid("The body could not be read")
	}
	if len(body) > maxBody {
		return nil, &problem{http.StatusRequestEntityTooLarge, "invalid_request", "The body is too large"}
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return nil, invalid("The body must be a JSON object")
	}
	return members, nil
}

// member stores a member of the body, and tells whether it is there.
func member[T any](members map[string]json.RawMessage, name, want string, into *T) (bool, error) {
	raw, present := members[name]
	if !present {
		return false, nil
	}
	if string(raw) == "null" || json.Unmarshal(raw, into) != nil {
		return false, invalid(name + ": want " + want)
	}
	return true, nil
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// change is PUT tag/<tag>.
func (c *call) change() error {
	members, err := c.members()
	if err != nil {
		return err
	}
	var change store.Change
	missing := false
	if raw, present := members["manifest_digest"]; present {
		var text string
		if !isNull(raw) {
			if _, err := member(members, "manifest_digest", "a string or null", &text); err != nil {
				return err
			}
		}
		// What is no digest is no manifest that could be found.
		d, err := store.ParseDigest(text)
		missing = err != nil
		change.Digest = &d
	}
	if raw, present := members["expiration"]; present {
		if change.Expiration, err = expiration(raw); err != nil {
			return err
		}
	}
	var immutable bool
	if present, err := member(members, "immutable", "true or false", &immutable); err != nil {
		return err
	} else if present {
		change.Immutable = &immutable
	}
	if err := store.CheckTag(c.object); err != nil {
		return err
	}
	if missing {
		return errNotFound
	}
	admin := c.right() >= access.Admin
	if err := c.Store.ChangeTag(c.r.Context(), c.repository, c.object, change, admin, access.Caller(c.r)); err != nil {
		return err
	}
	c.answer(http.StatusCreated, "Updated")
	return nil
}

// expiration reads a time in seconds; a fraction is cut.
func expiration(raw json.RawMessage) (*store.Expiration, error) {
	if isNull(raw) {
		return &store.Expiration{Never: true}, nil
	}
	text := strings.TrimSpace(string(raw))
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return &store.Expiration{At: seconds}, nil
	}
	var number json.Number
	if text == "" || text[0] == '"' || json.Unmarshal(raw, &number) != nil {
		return nil, invalid("expiration: want a number of seconds since 1970, or null")
	}
	seconds, err := number.Float64()
	if err != nil || math.IsNaN(seconds) || math.Abs(seconds) > 1<<53 {
		return nil, invalid("expiration: the time is out of range")
	}
	return &store.Expiration{At: int64(seconds)}, nil
}

// delete is DELETE tag/<tag>.
func (c *call) delete() error {
	if err := c.Store.DeleteTag(c.r.Context(), c.repository, c.object, true, access.Caller(c.r)); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// restore is POST tag/<tag>/restore.
func (c *call) restore() error {
	members, err := c.members()
	if err != nil {
		return err
	}
	var text string
	present, err := member(members, "manifest_digest", "a string", &text)
	if err != nil {
		return err
	}
	if !present {
		return invalid("Missing manifest_digest")
	}
	if err := store.CheckTag(c.object); err != nil {
		return err
	}
	d, err := store.ParseDigest(text)
	if err != nil {
		return errNotFound
	}
	if err := c.Store.RestoreTag(c.r.Context(), c.repository, c.object, d, access.Caller(c.r)); err != nil {
		return err
	}
	c.answer(http.StatusOK, struct{}{})
	return nil
}

// forget is POST tag/<tag>/expire.
func (c *call) forget() error {
	members, err := c.members()
	if err != nil {
		return err
	}
	var alive, submanifests bool
	var text string
	_, err = member(members, "is_alive", "true or false", &alive)
	// A list's own manifests go with it in any case.
	_, subErr := member(members, "include_submanifests", "true or false", &submanifests)
	if err := errors.Join(err, subErr); err != nil {
		return err
	}
	var d digest.Digest
	if !alive {
		present, err := member(members, "manifest_digest", "a string", &text)
		if err != nil {
			return err
		}
		if !present {
			return invalid("Missing manifest_digest")
		}
		if d, err = store.ParseDigest(text); err != nil {
			return errNotFound
		}
	}
	if err := c.Store.ForgetTag(c.r.Context(), c.repository, c.object, alive, d, access.Caller(c.r)); err != nil {
		return err
	}
	if c.Removed != nil {
		c.Removed()
	}
	c.answer(http.StatusOK, "")
	return nil
}
