package core

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// Representation renders requests as the JSON that clients and listeners know
// (API contract, section 3).
type Representation struct {
	// BaseURL is the scheme and host under which the API answers, such as
	// "https://iib.example.com"; addresses in the JSON begin with it.
	BaseURL string
	// Keep is how long a request's files outlive its latest state.
	Keep time.Duration
	// Logs tells whether the server keeps logs.
	Logs bool
	// Handler returns what is known of a request type. It may be nil, or
	// answer false for a type whose plugin is gone; only addresses of artifacts
	// depend on it.
	Handler func(requestType string) (*HandlerType, bool)
}

// TimeFormat is the one form of every time in the API: UTC, six digits.
const TimeFormat = "2006-01-02T15:04:05.000000Z"

// FormatTime renders a time in TimeFormat.
func FormatTime(t time.Time) string { return t.UTC().Format(TimeFormat) }

// file is where a client finds a request's log or artifact.
type file struct {
	URL        string `json:"url"`
	Expiration string `json:"expiration"`
}

type entry struct {
	State   State  `json:"state"`
	Reason  string `json:"state_reason"`
	Updated string `json:"updated"`
}

// JSON renders one request. The verbose form adds the history, the batch's
// annotations and the log's address.
func (p *Representation) JSON(r *Request, verbose bool) (json.RawMessage, error) {
	now := r.State()
	doc := make(map[string]any, len(r.Fields)+12)
	handler, known := (*HandlerType)(nil), false
	if p.Handler != nil {
		handler, known = p.Handler(r.Type)
	}
	for name, value := range r.Fields {
		if known {
			if field, ok := handler.Field(name); ok && field.Hidden {
				continue
			}
		}
		doc[name] = value
	}
	expiration := FormatTime(r.Expires(p.Keep))
	if known {
		for _, artifact := range handler.Doc.Artifacts {
			switch address := p.url(r.ID, artifact.Path); {
			case artifact.Field == "":
			case artifact.Parameter:
				doc[artifact.Field] = address
			default:
				doc[artifact.Field] = file{address, expiration}
			}
		}
	}
	doc["id"] = r.ID
	doc["request_type"] = r.Type
	doc["batch"] = r.Batch
	doc["user"] = nullable(r.User)
	doc["arches"] = nonNil(r.Arches)
	doc["state"] = now.State
	doc["state_reason"] = now.Reason
	doc["updated"] = FormatTime(now.Time)
	if verbose {
		doc["batch_annotations"] = rawOrNull(r.BatchAnnotations)
		history := make([]entry, 0, len(r.History))
		for _, h := range r.History {
			history = append(history, entry{h.State, h.Reason, FormatTime(h.Time)})
		}
		doc["state_history"] = history
		if p.Logs {
			doc["logs"] = file{p.url(r.ID, "logs"), expiration}
		}
	}
	return marshal(doc)
}

// EventBody renders what listeners get for an event (contract, section 7.1).
func (p *Representation) EventBody(e *Event) (json.RawMessage, error) {
	if e.Kind == RequestEvent {
		return p.JSON(e.Snapshot, false)
	}
	if e.Kind == TagEvent {
		return marshal(map[string]any{
			"tag": e.Move.Spec, "action": e.Move.Kind, "user": nullable(e.User), "updated": FormatTime(e.Time),
			"from_digest": nullable(e.Move.From), "to_digest": nullable(e.Move.To),
		})
	}
	type member struct {
		ID           int64   `json:"id"`
		Organization *string `json:"organization"`
		Type         string  `json:"request_type"`
	}
	members := make([]member, 0, len(e.Members))
	for _, m := range e.Members {
		members = append(members, member{m.ID, m.Organization, m.Type})
	}
	return marshal(map[string]any{
		"batch":       e.Batch,
		"annotations": rawOrNull(e.Annotations),
		"state":       e.State,
		"user":        nullable(e.User),
		"requests":    members,
	})
}

func (p *Representation) url(id int64, path string) string {
	return fmt.Sprintf("%s/api/v1/builds/%d/%s", p.BaseURL, id, path)
}

func marshal(v any) (json.RawMessage, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "render a request: %v", err)
	}
	return data, nil
}

func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func rawOrNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
