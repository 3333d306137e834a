// Package greenwave asks whether a build may be pushed (push service contract,
// section 11).
package greenwave

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 4 << 20

// Client asks one Greenwave. Its fields are set once.
type Client struct {
	URL, Context, ProductVersion string
	HTTP                         *http.Client
	// Timeout bounds a call; 0 is no bound.
	Timeout time.Duration
}

func (c *Client) do(ctx context.Context, method, path string, body any) (int, []byte, error) {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.URL, "/")+path, bytes.NewReader(encoded))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.HTTP.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, answer, err
}

// Check returns nil for a build that satisfies the policies.
func (c *Client) Check(ctx context.Context, nvr string) error {
	status, body, err := c.do(ctx, http.MethodPost, "/api/v1.0/decision", map[string]string{
		"decision_context": c.Context, "product_version": c.ProductVersion,
		"subject_identifier": nvr, "subject_type": "koji_build",
	})
	if err != nil {
		return fault.New(fault.Greenwave, "Greenwave did not answer: %v", err)
	}
	shown := fault.Response(body)
	if status != http.StatusOK {
		return fault.New(fault.Greenwave, "Greenwave answered with status %d.", status).With("greenwave_response", shown)
	}
	var decision map[string]any
	_ = json.Unmarshal(body, &decision)
	satisfied, ok := decision["policies_satisfied"]
	switch {
	case !ok:
		return fault.New(fault.Greenwave, "Greenwave's answer does not tell whether the policies are satisfied.").With("greenwave_response", shown)
	case !truthy(satisfied):
		return fault.New(fault.GreenwaveUnsatisfied, "The build %s does not satisfy the policies for %s.", nvr, c.ProductVersion).With("greenwave_response", shown)
	}
	return nil
}

// truthy tells whether a value means yes, as it does for the original: all but
// null, false, zero and what is empty.
func truthy(value any) bool {
	switch v := value.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return false
}

// Ping asks Greenwave who it is.
func (c *Client) Ping(ctx context.Context) error {
	status, body, err := c.do(ctx, http.MethodGet, "/api/v1.0/about", nil)
	if err != nil {
		return err
	}
	var about map[string]any
	if err := json.Unmarshal(body, &about); status/100 != 2 || err != nil || about["version"] == nil {
		return fmt.Errorf("status %d without a version", status)
	}
	return nil
}
