package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// client speaks to an engine's API.
type client struct {
	// base is the scheme and host.
	base string
	http *http.Client
}

// tokenVariable has the token that the verbs present; an argument would be seen
// by everybody on the machine.
const tokenVariable = "IIB_TOKEN"

// defaultServer is where the shipped configuration listens.
const defaultServer = "http://127.0.0.1:8080"

func newClient(server string) (*client, error) {
	if server == "" {
		server = os.Getenv("IIB_SERVER")
	}
	if server == "" {
		server = defaultServer
	}
	address, err := url.Parse(server)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		return nil, &exitError{exitUsage, fmt.Errorf("the server %q is not an address such as %s", server, defaultServer)}
	}
	return &client{base: strings.TrimSuffix(server, "/"), http: &http.Client{}}, nil
}

// build is what the command line needs of a request's representation.
type build struct {
	ID      int64  `json:"id"`
	Type    string `json:"request_type"`
	State   string `json:"state"`
	Reason  string `json:"state_reason"`
	Updated string `json:"updated"`
	User    string `json:"user"`

	raw json.RawMessage
}

func (b *build) final() bool { return b.State == "complete" || b.State == "failed" }

// call sends a request and decodes the answer; an answer of 400 and more is an
// error with the server's own words.
func (c *client) call(ctx context.Context, method, path string, body any, into any) (json.RawMessage, error) {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(data)
	}
	response, err := c.open(ctx, method, path, reader)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	return raw, json.Unmarshal(raw, into)
}

// open sends a request and returns the answer's body unread.
func (c *client) open(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token := os.Getenv(tokenVariable); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s does not answer: %w", c.base, errors.Unwrap(err))
	}
	if response.StatusCode < 400 {
		return response, nil
	}
	defer response.Body.Close()
	var fault struct {
		Error string `json:"error"`
	}
	raw, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if json.Unmarshal(raw, &fault) != nil || fault.Error == "" {
		return nil, fmt.Errorf("%s answered %s", c.base, response.Status)
	}
	return nil, errors.New(fault.Error)
}

func (c *client) build(ctx context.Context, method, path string, body any) (*build, error) {
	b := new(build)
	raw, err := c.call(ctx, method, path, body, b)
	b.raw = raw
	return b, err
}
