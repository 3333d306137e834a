package tags

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// apiPath is below what the API has its addresses.
const apiPath = "/api/v1/repository/"

const (
	pageSize  = 100
	maxAnswer = 16 << 20
	maxToken  = 64 << 10
	timeout   = 30 * time.Second
)

// quay speaks Quay's API for tags.
type quay struct {
	kind    string
	trusted bool
	base    string
	client  *http.Client
	// token returns the access token, or "".
	token func() (string, error)
}

var _ core.TagHistory = (*quay)(nil)

func remote(q Quay) core.TagHistory {
	client, err := clientFor(q.CAFile)
	return &quay{kind: "quay", base: trimBase(q.URL), client: client, token: func() (string, error) {
		if err != nil {
			return "", err
		}
		return readToken(q.TokenFile)
	}}
}

// readToken reads the file anew, so that a token can be replaced.
func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	file, err := os.Open(path)
	if err != nil {
		return "", sdk.Errorf(sdk.Internal, "read the token of Quay's API: %v", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxToken))
	if err != nil {
		return "", sdk.Errorf(sdk.Internal, "read the token of Quay's API: %v", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", sdk.Errorf(sdk.Internal, "the file %s does not hold one token", path)
	}
	return token, nil
}

func (q *quay) Kind() string  { return q.kind }
func (q *quay) Trusted() bool { return q.trusted }

// row is a row of the API's list.
type row struct {
	Name      string `json:"name"`
	Reversion bool   `json:"reversion"`
	Start     int64  `json:"start_ts"`
	End       int64  `json:"end_ts"`
	Digest    string `json:"manifest_digest"`
}

func (q *quay) Points(ctx context.Context, spec string, page int) ([]core.TagPoint, bool, error) {
	_, repository, tag := core.SplitTag(spec)
	query := url.Values{"specificTag": {tag}, "limit": {strconv.Itoa(pageSize)}, "page": {strconv.Itoa(max(page, 1))}}
	var list struct {
		Tags []row `json:"tags"`
		More bool  `json:"has_additional"`
	}
	if err := q.call(ctx, spec, http.MethodGet, repository+"/tag/?"+query.Encode(), nil, &list); err != nil {
		return nil, false, err
	}
	points := make([]core.TagPoint, 0, len(list.Tags))
	for _, r := range list.Tags {
		// Old versions of Quay have rows without a digest: nothing to go back to.
		if r.Name == tag && r.Digest != "" {
			points = append(points, core.TagPoint{Digest: r.Digest, Start: timeOf(r.Start), End: timeOf(r.End), Restored: r.Reversion})
		}
	}
	return points, list.More, nil
}

func (q *quay) Restore(ctx context.Context, spec, digest string) error {
	_, repository, tag := core.SplitTag(spec)
	return q.call(ctx, spec, http.MethodPost, repository+"/tag/"+tag+"/restore", map[string]string{"manifest_digest": digest}, nil)
}

func (q *quay) Expire(ctx context.Context, spec string, at time.Time) error {
	_, repository, tag := core.SplitTag(spec)
	var seconds *int64
	if !at.IsZero() {
		unix := at.Unix()
		seconds = &unix
	}
	return q.call(ctx, spec, http.MethodPut, repository+"/tag/"+tag, map[string]*int64{"expiration": seconds}, nil)
}

func (q *quay) Delete(ctx context.Context, spec string) error {
	_, repository, tag := core.SplitTag(spec)
	return q.call(ctx, spec, http.MethodDelete, repository+"/tag/"+tag, nil, nil)
}

// call sends a request and decodes the answer, unless into is nil.
func (q *quay) call(ctx context.Context, spec, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return sdk.Errorf(sdk.Internal, "tag %s: %v", spec, err)
		}
		reader = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, q.base+apiPath+path, reader)
	if err != nil {
		return sdk.Errorf(sdk.Invalid, "tag %s: %v", spec, err)
	}
	token, err := q.token()
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := q.client.Do(request)
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "tag %s: %v", spec, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return sdk.Errorf(sdk.Unavailable, "tag %s: read the answer: %v", spec, err)
	case response.StatusCode >= 300:
		return fault(spec, response.StatusCode, answer)
	case into == nil:
		return nil
	case len(answer) > maxAnswer || json.Unmarshal(answer, into) != nil:
		return sdk.Errorf(sdk.Unavailable, "tag %s: %s does not answer as Quay's API does", spec, q.base)
	}
	return nil
}

// codes are what the statuses of the API mean to us.
var codes = map[int]sdk.Code{
	http.StatusBadRequest:   sdk.Invalid,
	http.StatusUnauthorized: sdk.Denied,
	http.StatusForbidden:    sdk.Denied,
	http.StatusNotFound:     sdk.NotFound,
	http.StatusConflict:     sdk.Conflict,
}

// fault reads an error in any of the three shapes that the API has.
func fault(spec string, status int, answer []byte) error {
	var shape struct {
		ErrorMessage string          `json:"error_message"`
		Message      json.RawMessage `json:"message"`
		Error        string          `json:"error"`
	}
	_ = json.Unmarshal(answer, &shape)
	text := shape.ErrorMessage
	if text == "" && json.Unmarshal(shape.Message, &text) != nil {
		text = string(shape.Message)
	}
	text = cmp.Or(text, shape.Error, http.StatusText(status))
	if len(text) > 500 {
		text = text[:500]
	}
	code, ok := codes[status]
	if !ok {
		code = sdk.Unavailable
	}
	return sdk.Errorf(code, "tag %s: the registry answered %d: %s", spec, status, strings.TrimSpace(fmt.Sprintf("%q", text)))
}
