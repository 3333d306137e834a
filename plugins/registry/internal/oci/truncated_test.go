package oci_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// cut begins a request with a body, sends half of it, and hangs up.
func (r *registry) cut(method, location string, content []byte) {
	r.t.Helper()
	base, err := url.Parse(r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	connection, err := net.Dial("tcp", base.Host)
	if err != nil {
		r.t.Fatal(err)
	}
	defer connection.Close()
	if _, err := fmt.Fprintf(connection, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n",
		method, strings.TrimPrefix(location, r.url), base.Host, len(content)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := connection.Write(content[:len(content)/2]); err != nil {
		r.t.Fatal(err)
	}
	// Only what goes to the registry ends; its answer, if any, tells that it is
	// done with what it got.
	if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
		r.t.Fatal(err)
	}
	if err := connection.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	if answer, err := http.ReadResponse(bufio.NewReader(connection), nil); err == nil {
		answer.Body.Close()
		if answer.StatusCode < 400 {
			r.t.Errorf("%s of half a body was answered %s", method, answer.Status)
		}
	}
}

func TestTruncatedUploadsStoreNothing(t *testing.T) {
	r := newRegistry(t, store.Options{})
	for _, size := range []int{1000, 300 << 10} {
		content := noise(size)
		d := digest.FromBytes(content)
		r.cut("POST", r.url+"/v2/app/blobs/uploads/?digest="+d.String(), content)
		r.cut("PUT", withDigest(r.startUpload("app"), d), content)
		half := digest.FromBytes(content[:size/2])
		for _, missing := range []digest.Digest{d, half} {
			r.want(http.StatusNotFound, "HEAD", "/v2/app/blobs/"+missing.String(), nil)
		}

		// A chunk that was cut is an upload that goes on, from wherever it is.
		location := r.startUpload("app")
		r.cut("PATCH", location, content)
		status := r.want(http.StatusNoContent, "GET", location, nil)
		at := 0
		if got := status.Header.Get("Range"); got != "0-0" && got != "" {
			var last int
			if _, err := fmt.Sscanf(got, "0-%d", &last); err != nil || last >= size {
				t.Fatalf("range %q", got)
			}
			at = last + 1
		}
		r.refused(r.do("PUT", withDigest(location, d), nil), http.StatusBadRequest, "DIGEST_INVALID")
		location = r.startUpload("app")
		if at > 0 {
			location = r.header(r.want(http.StatusAccepted, "PATCH", location, content[:at]), "Location", "")
		}
		r.want(http.StatusCreated, "PUT", withDigest(location, d), content[at:])
		r.serves("/v2/app/blobs/"+d.String(), content)
	}
	// A manifest that was cut is none, and no tag.
	manifest := r.image("app", "cut", nil)
	r.cut("PUT", r.url+"/v2/app/manifests/v1", manifest)
	r.want(http.StatusNotFound, "GET", "/v2/app/manifests/v1", nil)
	if tags, _ := r.tagList("/v2/app/tags/list"); len(tags) != 0 {
		t.Errorf("tags %v", tags)
	}
}
