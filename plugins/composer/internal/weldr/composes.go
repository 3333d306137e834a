package weldr

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/blueprint"
	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/plugins/composer/internal/ledger"
	"github.com/iib-engine/iib/plugins/composer/internal/plan"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
)

func (s *Server) startCompose(c *call) error {
	data, err := c.body(plan.MaxBody, fault.ComposeError)
	if err != nil {
		return err
	}
	test := c.URL.Query().Get("test")
	if test != "" && test != "0" && test != "1" && test != "2" {
		return fault.New(fault.ComposeError, "test must be 0, 1 or 2")
	}
	if data, err = amended(data, c.version, test); err != nil {
		return err
	}
	if _, _, err := s.Planner.Read(data); err != nil {
		return err
	}
	view, err := s.Host.Submit(c.Context(), sdk.UserFrom(c.Request), compose.Type, data)
	if err != nil {
		if sdk.CodeOf(err) != sdk.Internal && fault.ID(err, "") == "" {
			return fault.As(fault.BuildFailed, err, "")
		}
		return err
	}
	answer := struct {
		Status   bool            `json:"status"`
		BuildID  json.RawMessage `json:"build_id"`
		UploadID *string         `json:"upload_id,omitempty"`
		Warnings json.RawMessage `json:"warnings,omitempty"`
	}{Status: true, BuildID: view.Fields[compose.FieldUUID]}
	if c.version > 0 {
		answer.UploadID = new(string)
		answer.Warnings = view.Fields[compose.FieldWarnings]
	}
	return c.ok(answer)
}

// amended puts what the query says of a test into a body. Version 0 knows no
// uploads. What is no object is left to those who judge it.
func amended(data []byte, version int, test string) ([]byte, error) {
	var body map[string]json.RawMessage
	if json.Unmarshal(data, &body) != nil || len(body) == 0 {
		return data, nil
	}
	if version == 0 {
		delete(body, "upload")
	}
	delete(body, "test")
	if len(body) > 0 && test != "" {
		body["test"] = json.RawMessage(test)
	}
	return json.Marshal(body)
}

// detail is the form of a compose in lists. Version 0 has no uploads.
type detail struct {
	ID        string   `json:"id"`
	Blueprint string   `json:"blueprint"`
	Version   string   `json:"version"`
	Type      string   `json:"compose_type"`
	ImageSize int64    `json:"image_size"`
	Status    string   `json:"queue_status"`
	Created   float64  `json:"job_created"`
	Started   *float64 `json:"job_started"`
	Finished  *float64 `json:"job_finished"`
	Uploads   *[]any   `json:"uploads,omitempty"`
}

func (c *call) detail(e *ledger.Entry) detail {
	return detail{
		e.UUID, e.Blueprint, e.Version, e.Type, e.ImageSize, e.State,
		e.Created, timeOrNull(e.Started), timeOrNull(e.Ended), c.uploads(),
	}
}

// uploads is the list that version 1 always has.
func (c *call) uploads() *[]any {
	if c.version == 0 {
		return nil
	}
	return &[]any{}
}

func timeOrNull(t float64) *float64 {
	if t == 0 {
		return nil
	}
	return &t
}

// inState returns the composes in one state.
func (s *Server) inState(c *call, state string) ([]detail, error) {
	all, err := s.Ledger.All(c.Context())
	if err != nil {
		return nil, err
	}
	return c.details(all, state), nil
}

func (c *call) details(all []ledger.Entry, state string) []detail {
	details := []detail{}
	for _, e := range all {
		if e.State == state {
			details = append(details, c.detail(&e))
		}
	}
	return details
}

func (s *Server) listQueue(c *call) error {
	all, err := s.Ledger.All(c.Context())
	if err != nil {
		return err
	}
	return c.ok(struct {
		New []detail `json:"new"`
		Run []detail `json:"run"`
	}{c.details(all, ledger.Waiting), c.details(all, ledger.Running)})
}

func (s *Server) listFinished(c *call) error {
	details, err := s.inState(c, ledger.Finished)
	if err != nil {
		return err
	}
	return c.ok(struct {
		Finished []detail `json:"finished"`
	}{details})
}

func (s *Server) listFailed(c *call) error {
	details, err := s.inState(c, ledger.Failed)
	if err != nil {
		return err
	}
	return c.ok(struct {
		Failed []detail `json:"failed"`
	}{details})
}

func (s *Server) listStatus(c *call) error {
	ids, err := c.names()
	if err != nil {
		return err
	}
	filters := make(map[string]string)
	for _, key := range []string{"blueprint", "status", "type"} {
		if filters[key], err = c.query(key, ""); err != nil {
			return err
		}
	}
	all, err := s.Ledger.All(c.Context())
	if err != nil {
		return err
	}
	answer := struct {
		UUIDs  []detail `json:"uuids"`
		Errors perName  `json:"errors"`
	}{[]detail{}, perName{}}
	add := func(e *ledger.Entry) {
		for key, value := range map[string]string{"blueprint": e.Blueprint, "status": e.State, "type": e.Type} {
			if filters[key] != "" && filters[key] != value {
				return
			}
		}
		answer.UUIDs = append(answer.UUIDs, c.detail(e))
	}
	for _, id := range ids {
		if id == "*" {
			for _, state := range []string{ledger.Waiting, ledger.Running, ledger.Finished, ledger.Failed} {
				for _, e := range all {
					if e.State == state {
						add(&e)
					}
				}
			}
			continue
		}
		i := slices.IndexFunc(all, func(e ledger.Entry) bool { return e.UUID == id })
		if i < 0 {
			answer.Errors = append(answer.Errors, asMessage(ledger.Unknown(id)))
			continue
		}
		add(&all[i])
	}
	return c.ok(answer)
}

// one returns the compose that the path names.
func (s *Server) one(c *call) (*ledger.Entry, *sdk.RequestView, error) {
	if !argument.MatchString(c.args[0]) {
		return nil, nil, errPath
	}
	return s.Ledger.Get(c.Context(), c.args[0])
}

func paramsOf(view *sdk.RequestView) (*compose.Params, error) {
	params := new(compose.Params)
	if err := view.Decode(params); err != nil {
		return nil, err
	}
	return params, nil
}

func (s *Server) showCompose(c *call) error {
	e, view, err := s.one(c)
	if err != nil {
		return err
	}
	params, err := paramsOf(view)
	if err != nil {
		return err
	}
	frozen, err := blueprint.ParseTOML(params.Frozen)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "the frozen blueprint of compose %s: %v", e.UUID, err)
	}
	config, err := json.Marshal(s.Config(params))
	if err != nil {
		return err
	}
	if c.version > 0 {
		// Clients of this version read the object out of a string.
		if config, err = json.Marshal(string(config)); err != nil {
			return err
		}
	}
	type deps struct {
		Packages []solve.Package `json:"packages"`
	}
	return c.ok(struct {
		ID        string               `json:"id"`
		Blueprint *blueprint.Blueprint `json:"blueprint"`
		Commit    string               `json:"commit"`
		Config    json.RawMessage      `json:"config"`
		Deps      deps                 `json:"deps"`
		Type      string               `json:"compose_type"`
		Status    string               `json:"queue_status"`
		ImageSize int64                `json:"image_size"`
		Uploads   *[]any               `json:"uploads,omitempty"`
	}{
		e.UUID, frozen, params.Commit, config, deps{params.Installed()},
		e.Type, e.State, e.ImageSize, c.uploads(),
	})
}

// goneTimeout bounds how long a cancel waits for the build to be over.
const goneTimeout = 2 * time.Minute

func (s *Server) cancelCompose(c *call) error {
	e, _, err := s.one(c)
	if err != nil {
		return err
	}
	wrongState := fault.New(fault.BuildInWrongState, "Build %s is not in WAITING or RUNNING.", e.UUID)
	if e.Over() {
		return wrongState
	}
	// What was begun is brought to its end, whether the client waits or not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), goneTimeout)
	defer cancel()
	who := sdk.UserFrom(c.Request)
	if who == "" {
		who = "a client of the composer"
	}
	if err := s.Host.Cancel(ctx, e.Request, "The compose was cancelled by "+who+"."); err != nil {
		if sdk.CodeOf(err) == sdk.Conflict {
			return wrongState
		}
		return fault.As(fault.ComposeError, err, "")
	}
	if err := s.Gone(ctx, e.Request); err != nil {
		return fault.New(fault.ComposeError, "Build %s was cancelled, but has not stopped within %s", e.UUID, goneTimeout)
	}
	if err := s.Ledger.Delete(ctx, e); err != nil {
		return fault.As(fault.ComposeError, err, "")
	}
	return c.ok(struct {
		Status bool   `json:"status"`
		UUID   string `json:"uuid"`
	}{true, e.UUID})
}

func (s *Server) deleteComposes(c *call) error {
	ids, err := c.names()
	if err != nil {
		return err
	}
	type deleted struct {
		UUID   string `json:"uuid"`
		Status bool   `json:"status"`
	}
	answer := struct {
		UUIDs  []deleted `json:"uuids"`
		Errors perName   `json:"errors"`
	}{[]deleted{}, perName{}}
	for _, id := range ids {
		id = strings.ToLower(id)
		e, _, err := s.Ledger.Get(c.Context(), id)
		switch {
		case err != nil && !fault.Is(err, fault.UnknownUUID):
			err = fault.As(fault.ComposeError, err, id+": ")
		case err != nil:
		case !e.Over():
			err = fault.New(fault.BuildInWrongState, "Build %s is not in FINISHED or FAILED.", id)
		default:
			if err = s.Ledger.Delete(c.Context(), e); err != nil {
				err = fault.As(fault.ComposeError, err, id+": ")
			}
		}
		if err != nil {
			answer.Errors = append(answer.Errors, asMessage(err))
			continue
		}
		answer.UUIDs = append(answer.UUIDs, deleted{id, true})
	}
	return c.ok(answer)
}

// logSize reads how much of a log a client wants, in bytes.
func (c *call) logSize() (int, error) {
	const most = 64 << 10 // KiB: no log is longer
	values := c.URL.Query()["size"]
	if len(values) == 0 {
		return 1 << 20, nil
	}
	n, err := strconv.Atoi(values[0])
	var large *strconv.NumError
	if errors.As(err, &large) && errors.Is(large.Err, strconv.ErrRange) && !strings.HasPrefix(values[0], "-") {
		n, err = most, nil
	}
	if err != nil || n < 1 {
		return 0, fault.New(fault.ComposeError, "size must be a number of KiB above 0")
	}
	return min(n, most) << 10, nil
}
