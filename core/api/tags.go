package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// tagPoint is the JSON of a point.
type tagPoint struct {
	Digest   string  `json:"digest"`
	From     *string `json:"from"`
	Until    *string `json:"until"`
	Alive    bool    `json:"alive"`
	Restored bool    `json:"restored"`
	Request  *int64  `json:"request"`
	User     *string `json:"user"`
}

// tagHistory is GET /tags/history?tag=...&page=...: what a tag has been.
func (s *server) tagHistory(w http.ResponseWriter, r *http.Request) error {
	user, err := s.caller(r)
	if err != nil {
		return err
	}
	number := 1
	if text := r.URL.Query().Get("page"); text != "" {
		if number, err = strconv.Atoi(text); err != nil || number < 1 {
			return sdk.FieldErrorf("page", "page must be a number from 1 on, not %.50q", text)
		}
	}
	page, err := s.Engine.TagPoints(r.Context(), user, r.URL.Query().Get("tag"), number)
	if err != nil {
		return tagError(err)
	}
	now := time.Now()
	items := make([]tagPoint, 0, len(page.Points))
	for _, p := range page.Points {
		item := tagPoint{Digest: p.Digest, From: stamp(p.Start), Until: stamp(p.End), Alive: p.Alive(now), Restored: p.Restored}
		if p.Request != 0 {
			item.Request = &p.Request
		}
		if p.User != "" {
			item.User = &p.User
		}
		items = append(items, item)
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"tag": page.Spec, "registry": page.Kind, "items": items, "page": number, "has_additional": page.More,
	})
	return nil
}

// tagPoint is GET /tags/point?tag=...&point=...: the image that a tag was.
func (s *server) tagPoint(w http.ResponseWriter, r *http.Request) error {
	user, err := s.caller(r)
	if err != nil {
		return err
	}
	tag, digest, err := s.Engine.TagPoint(r.Context(), user, r.URL.Query().Get("tag"), r.URL.Query().Get("point"))
	if err != nil {
		return tagError(err)
	}
	writeJSON(w, http.StatusOK, map[string]any{"tag": tag, "digest": digest})
	return nil
}

// tagOrder is the body of a change of a tag.
type tagOrder struct {
	Tag   string  `json:"tag"`
	Point string  `json:"point"`
	At    *string `json:"at"`
}

func (s *server) readTagOrder(w http.ResponseWriter, r *http.Request) (user string, order *tagOrder, err error) {
	if user, err = s.caller(r); err != nil {
		return "", nil, err
	}
	raw, err := readObject(w, r, s.Settings().MaxBody)
	if err != nil {
		return "", nil, err
	}
	order = new(tagOrder)
	if err := json.Unmarshal(raw, order); err != nil {
		return "", nil, sdk.Errorf(sdk.Invalid, "the body must have texts as tag, point and at: %v", err)
	}
	return user, order, nil
}

// restoreTag is POST /tags/restore {"tag", "point"}.
func (s *server) restoreTag(w http.ResponseWriter, r *http.Request) error {
	user, order, err := s.readTagOrder(w, r)
	if err != nil {
		return err
	}
	m, err := s.Engine.RestoreTag(r.Context(), user, order.Tag, order.Point)
	if err != nil {
		return tagError(err)
	}
	writeMove(w, m)
	return nil
}

// expireTag is POST /tags/expire {"tag", "at"}: at a time, "now", or never,
// which is null.
func (s *server) expireTag(w http.ResponseWriter, r *http.Request) error {
	user, order, err := s.readTagOrder(w, r)
	if err != nil {
		return err
	}
	if order.At != nil && *order.At == "now" {
		m, err := s.Engine.DeleteTag(r.Context(), user, order.Tag)
		if err != nil {
			return tagError(err)
		}
		writeMove(w, m)
		return nil
	}
	var at time.Time
	if order.At != nil {
		if at, err = time.Parse(time.RFC3339, *order.At); err != nil {
			return sdk.FieldErrorf("at", "at %.50q: want a time such as 2026-11-28T12:00:00Z, \"now\", or null for never", *order.At)
		}
	}
	if err := s.Engine.ExpireTag(r.Context(), user, order.Tag, at); err != nil {
		return tagError(err)
	}
	writeJSON(w, http.StatusOK, map[string]any{"tag": order.Tag, "at": stamp(at)})
	return nil
}

func writeMove(w http.ResponseWriter, m *core.TagMove) {
	writeJSON(w, http.StatusOK, map[string]any{
		"tag": m.Spec, "action": m.Kind, "from_digest": empty(m.From), "to_digest": empty(m.To),
	})
}

// tagError says what was not found: a tag, an image or a time, which is not the
// resource of the address.
func tagError(err error) error {
	if sdk.CodeOf(err) == sdk.NotFound {
		return &statusError{status: http.StatusNotFound, message: err.Error()}
	}
	return err
}

func stamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := core.FormatTime(t)
	return &text
}

func empty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
