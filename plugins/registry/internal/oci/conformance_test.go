package oci_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/oci"
	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// requirement is one of the OCI distribution specification 1.1: the workflow
// and the endpoint it belongs to, how strong it is, and what it says.
type requirement struct {
	workflow, endpoint, level, says string
	check                           func(r *registry)
}

const (
	pull       = "pull"
	push       = "push"
	discovery  = "content discovery"
	management = "content management"
)

// TestConformance goes through the specification's requirements. Each is
// checked in a registry of its own and, where there is a digest in it, with
// every algorithm that the registry takes.
func TestConformance(t *testing.T) {
	var mu sync.Mutex
	passed, total := make(map[string]int), make(map[string]int)
	t.Cleanup(func() {
		var workflows []string
		for workflow := range total {
			workflows = append(workflows, workflow)
		}
		sort.Strings(workflows)
		var summary strings.Builder
		for _, workflow := range workflows {
			fmt.Fprintf(&summary, "OCI distribution 1.1, %-18s %2d of %2d requirements hold\n", workflow+":", passed[workflow], total[workflow])
		}
		t.Log("\n" + summary.String())
		// go test shows the output of a package only where a test fails; the
		// test target shows this file.
		if file := os.Getenv("IIB_CONFORMANCE"); file != "" {
			out, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.WriteString(summary.String()); err != nil {
				t.Error(err)
			}
			if err := out.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	endpoints := make(map[string]bool)
	for _, q := range slices.Concat(general, pulling, pushingBlobs, pushingManifests, discovering, managing) {
		for _, endpoint := range strings.Split(q.endpoint, ", ") {
			endpoints[endpoint] = true
		}
		t.Run(fmt.Sprintf("%s %s %s: %s", q.workflow, q.endpoint, q.level, q.says), func(t *testing.T) {
			t.Parallel()
			ok := false
			t.Cleanup(func() {
				mu.Lock()
				defer mu.Unlock()
				total[q.workflow]++
				if ok {
					passed[q.workflow]++
				}
			})
			q.check(newRegistry(t, store.Options{}))
			ok = !t.Failed()
		})
	}
	for _, endpoint := range strings.Fields("end-1 end-2 end-3 end-4a end-4b end-5 end-6 end-7 end-8a end-8b end-9 end-10 end-11 end-12a end-12b end-13") {
		if !endpoints[endpoint] {
			t.Errorf("nothing is required of %s", endpoint)
		}
	}
}

// header fails unless a header has a value; an empty one only has to be there.
func (r *registry) header(a *answer, name, want string) string {
	r.t.Helper()
	got := a.Header.Get(name)
	if got == "" || want != "" && got != want {
		r.t.Errorf("%s %s: header %s is %q, want %q", a.Request.Method, a.Request.URL, name, got, want)
	}
	return got
}

// refused fails unless a request is answered with a status and an error code.
func (r *registry) refused(a *answer, status int, code string) {
	r.t.Helper()
	if a.StatusCode != status || !slices.Contains(a.codes(), code) {
		r.t.Errorf("%s %s: %d %s, want %d %s", a.Request.Method, a.Request.URL, a.StatusCode, a.body, status, code)
	}
}

// serves fails unless a location answers with a body.
func (r *registry) serves(location string, want []byte) {
	r.t.Helper()
	if got := r.want(http.StatusOK, "GET", location, nil); !bytes.Equal(got.body, want) {
		r.t.Errorf("GET %s returned %d bytes that are not the %d stored", location, len(got.body), len(want))
	}
}

func (r *registry) startUpload(repository string) string {
	r.t.Helper()
	start := r.want(http.StatusAccepted, "POST", "/v2/"+repository+"/blobs/uploads/", nil)
	return r.header(start, "Location", "")
}

var algorithms = []digest.Algorithm{digest.SHA256, digest.SHA512}

// each runs a check with every algorithm.
func each(check func(r *registry, algorithm digest.Algorithm)) func(*registry) {
	return func(r *registry) {
		for _, algorithm := range algorithms {
			check(r, algorithm)
		}
	}
}

var general = []requirement{
	{pull, "end-1", "MUST", "the registry says that it is one", func(r *registry) {
		r.want(http.StatusOK, "GET", "/v2/", nil)
		r.want(http.StatusOK, "GET", "/v2", nil)
	}},
	{pull, "errors", "MUST", "a JSON error has the format and a code of the table", func(r *registry) {
		known := []string{
			"BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN",
			"MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED",
			"DENIED", "UNSUPPORTED", "TOOMANYREQUESTS",
		}
		r.pushManifest("app", "v1", r.image("app", "errors", nil))
		missing := digest.FromString("missing")
		for _, request := range []struct{ method, path string }{
			{"GET", "/v2/nowhere/manifests/v1"}, {"GET", "/v2/app/manifests/v2"}, {"GET", "/v2/app/blobs/" + missing.String()},
			{"GET", "/v2/app/blobs/sha256:short"}, {"GET", "/v2/UPPER/manifests/v1"}, {"PUT", "/v2/app/manifests/v1"},
			{"PATCH", "/v2/app/blobs/uploads/unknown"}, {"GET", "/v2/app/tags/list?n=x"}, {"POST", "/v2/app/manifests/v1"},
			{"GET", "/v2/app/elsewhere/v1"},
		} {
			a := r.do(request.method, request.path, nil)
			if a.StatusCode < 400 || a.StatusCode > 499 {
				r.t.Errorf("%s %s: status %d", request.method, request.path, a.StatusCode)
			}
			codes := a.codes()
			if len(codes) == 0 {
				r.t.Errorf("%s %s: %s", request.method, request.path, a.body)
			}
			for _, code := range codes {
				if !slices.Contains(known, code) {
					r.t.Errorf("%s %s: code %s is not in the table", request.method, request.path, code)
				}
			}
			r.header(a, "Content-Type", "application/json")
		}
	}},
	{pull, "name", "MUST", "a repository's name fits the grammar", func(r *registry) {
		for _, name := range []string{"a", "a/b/c", "a.b/c_d/e__f/g-h/i---j", "blobs/uploads/manifests", "tags/list", strings.Repeat("a", 255)} {
			r.pushManifest(name, "v1", r.image(name, name, nil))
			r.want(http.StatusOK, "GET", "/v2/"+name+"/manifests/v1", nil)
			r.want(http.StatusOK, "GET", "/v2/"+name+"/tags/list", nil)
		}
		for _, name := range []string{"A", "a//b", "a..b", "a/../b", "a/.", "-a", "a-", "a/_b", "a___b", "a b", "ä", "a%00", strings.Repeat("a", 256)} {
			a := r.do("POST", "/v2/"+url.PathEscape(name)+"/blobs/uploads/", nil)
			r.refused(a, http.StatusBadRequest, "NAME_INVALID")
		}
		r.refused(r.do("POST", "/v2/%2E%2E/blobs/uploads/", nil), http.StatusBadRequest, "NAME_INVALID")
	}},
	{push, "reference", "MUST", "a tag fits the grammar", func(r *registry) {
		manifest := r.image("app", "tags", nil)
		for _, tag := range []string{"a", "_", "A.b-c_d", strings.Repeat("t", 128)} {
			r.pushManifest("app", tag, manifest)
			r.serves("/v2/app/manifests/"+tag, manifest)
		}
		for _, tag := range []string{".a", "-a", "a!", "ä", "a%0A", strings.Repeat("t", 129)} {
			a := r.do("PUT", "/v2/app/manifests/"+strings.ReplaceAll(tag, "ä", "%C3%A4"), manifest, "Content-Type", typeImage)
			if a.StatusCode != http.StatusBadRequest {
				r.t.Errorf("tag %q: status %d", tag, a.StatusCode)
			}
		}
	}},
}

var pulling = []requirement{
	{pull, "end-3", "MUST", "a manifest comes by tag and by digest, byte by byte, with its type and digest", func(r *registry) {
		manifest := append(r.image("app", "pull", nil), "\n \n"...)
		r.pushManifest("app", "v1", manifest)
		d := digest.FromBytes(manifest)
		for _, reference := range []string{"v1", d.String()} {
			for _, method := range []string{"GET", "HEAD"} {
				a := r.want(http.StatusOK, method, "/v2/app/manifests/"+reference, nil, "Accept", typeImage)
				r.header(a, "Content-Type", typeImage)
				r.header(a, "Docker-Content-Digest", d.String())
				r.header(a, "Content-Length", strconv.Itoa(len(manifest)))
				if method == "GET" && !bytes.Equal(a.body, manifest) || method == "HEAD" && len(a.body) > 0 {
					r.t.Errorf("%s %s: %d bytes", method, reference, len(a.body))
				}
			}
		}
	}},
	{pull, "end-3", "MUST", "what does not exist is not found", func(r *registry) {
		r.pushManifest("app", "v1", r.image("app", "here", nil))
		missing := digest.FromString("missing").String()
		for _, path := range []string{"/v2/app/manifests/v2", "/v2/app/manifests/" + missing, "/v2/app/manifests/.bad"} {
			r.refused(r.do("GET", path, nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
			r.want(http.StatusNotFound, "HEAD", path, nil)
		}
		for _, path := range []string{"/v2/nowhere/manifests/v1", "/v2/nowhere/manifests/" + missing, "/v2/nowhere/blobs/" + missing} {
			r.refused(r.do("GET", path, nil), http.StatusNotFound, "NAME_UNKNOWN")
			r.want(http.StatusNotFound, "HEAD", path, nil)
		}
	}},
	{pull, "end-3", "MUST", "a reference with a colon is a digest", func(r *registry) {
		r.pushManifest("app", "v1", r.image("app", "digests", nil))
		for _, bad := range []string{"sha256:baddigeststring", "sha256:" + strings.Repeat("A", 64), "md5:d41d8cd98f00b204e9800998ecf8427e", "sha384:" + strings.Repeat("0", 96)} {
			r.refused(r.do("GET", "/v2/app/manifests/"+bad, nil), http.StatusBadRequest, "DIGEST_INVALID")
		}
	}},
	{pull, "end-2", "MUST", "a blob comes by its digest", each(func(r *registry, algorithm digest.Algorithm) {
		for _, content := range [][]byte{{}, []byte("{}"), noise(70 << 10), noise(3 << 20)} {
			d := algorithm.FromBytes(content)
			r.want(http.StatusCreated, "POST", withDigest("/v2/app/blobs/uploads/", d), content)
			a := r.want(http.StatusOK, "GET", "/v2/app/blobs/"+d.String(), nil)
			r.header(a, "Docker-Content-Digest", d.String())
			r.header(a, "Content-Length", strconv.Itoa(len(content)))
			if !bytes.Equal(a.body, content) {
				r.t.Errorf("blob of %d bytes: %d came", len(content), len(a.body))
			}
			a = r.want(http.StatusOK, "HEAD", "/v2/app/blobs/"+d.String(), nil)
			r.header(a, "Docker-Content-Digest", d.String())
			r.header(a, "Content-Length", strconv.Itoa(len(content)))
			if len(a.body) > 0 {
				r.t.Error("HEAD has a body")
			}
		}
	})},
	{pull, "end-2", "MUST", "a blob that is not in the repository is not found", each(func(r *registry, algorithm digest.Algorithm) {
		r.pushBlob("app", []byte("here"))
		r.pushBlob("other", []byte("elsewhere"))
		for _, content := range []string{"missing", "elsewhere"} {
			path := "/v2/app/blobs/" + algorithm.FromString(content).String()
			r.refused(r.do("GET", path, nil), http.StatusNotFound, "BLOB_UNKNOWN")
			r.want(http.StatusNotFound, "HEAD", path, nil)
		}
		r.refused(r.do("GET", "/v2/app/blobs/"+algorithm.String()+":baddigest", nil), http.StatusBadRequest, "DIGEST_INVALID")
	})},
	{pull, "end-2", "SHOULD", "ranges are served", each(func(r *registry, algorithm digest.Algorithm) {
		for _, size := range []int{2048, 100 << 10} {
			content := noise(size)
			d := algorithm.FromBytes(content)
			r.want(http.StatusCreated, "POST", withDigest("/v2/app/blobs/uploads/", d), content)
			for _, c := range []struct {
				asked      string
				start, end int
			}{
				{"bytes=500-1499", 500, 1500}, {"bytes=500-", 500, size}, {"bytes=-500", size - 500, size},
				{fmt.Sprintf("bytes=2000-%d", size+5000), 2000, size}, {"bytes=0-0", 0, 1},
			} {
				a := r.want(http.StatusPartialContent, "GET", "/v2/app/blobs/"+d.String(), nil, "Range", c.asked)
				r.header(a, "Content-Range", fmt.Sprintf("bytes %d-%d/%d", c.start, c.end-1, size))
				r.header(a, "Content-Length", strconv.Itoa(c.end-c.start))
				if !bytes.Equal(a.body, content[c.start:c.end]) {
					r.t.Errorf("range %s has other bytes", c.asked)
				}
			}
			for _, bad := range []string{"bytes=500-0", fmt.Sprintf("bytes=%d-", size), fmt.Sprintf("bytes=%d-%d", size+5000, size+9999)} {
				r.want(http.StatusRequestedRangeNotSatisfiable, "GET", "/v2/app/blobs/"+d.String(), nil, "Range", bad)
			}
		}
	})},
	{pull, "end-2", "SHOULD", "what the client has is not sent again", func(r *registry) {
		d := r.pushBlob("app", []byte("cached"))
		r.want(http.StatusNotModified, "GET", "/v2/app/blobs/"+d.String(), nil, "If-None-Match", `"`+d.String()+`"`)
		manifest := r.image("app", "cached", nil)
		r.pushManifest("app", "v1", manifest)
		tag := r.header(r.want(http.StatusOK, "HEAD", "/v2/app/manifests/v1", nil), "ETag", "")
		r.want(http.StatusNotModified, "GET", "/v2/app/manifests/v1", nil, "If-None-Match", tag)
		r.pushManifest("app", "v1", r.image("app", "changed", nil))
		r.want(http.StatusOK, "GET", "/v2/app/manifests/v1", nil, "If-None-Match", tag)
	}},
}

var pushingBlobs = []requirement{
	{push, "end-4a, end-6", "MUST", "a blob is pushed by POST and PUT", each(func(r *registry, algorithm digest.Algorithm) {
		for _, content := range [][]byte{{}, []byte("small " + algorithm), noise(100 << 10)} {
			d := algorithm.FromBytes(content)
			a := r.want(http.StatusCreated, "PUT", withDigest(r.startUpload("app"), d), content, "Content-Type", "application/octet-stream")
			r.serves(r.header(a, "Location", ""), content)
			r.header(a, "Docker-Content-Digest", d.String())
		}
	})},
	{push, "end-4a", "MUST", "each upload has a location of its own", func(r *registry) {
		if a, b := r.startUpload("app"), r.startUpload("app"); a == b {
			r.t.Errorf("both are at %s", a)
		}
		r.want(http.StatusAccepted, "POST", "/v2/app/blobs/uploads", nil)
	}},
	{push, "end-4b", "MUST", "a blob is pushed by POST alone", each(func(r *registry, algorithm digest.Algorithm) {
		content := []byte("all at once by " + algorithm)
		d := algorithm.FromBytes(content)
		a := r.want(http.StatusCreated, "POST", withDigest("/v2/app/blobs/uploads/", d), content)
		r.serves(r.header(a, "Location", ""), content)
	})},
	{push, "end-4b, end-6", "MUST", "the digest fits the content", each(func(r *registry, algorithm digest.Algorithm) {
		for _, content := range [][]byte{[]byte("content"), noise(100 << 10)} {
			lie := algorithm.FromString("other content")
			r.refused(r.do("POST", withDigest("/v2/app/blobs/uploads/", lie), content), http.StatusBadRequest, "DIGEST_INVALID")
			r.refused(r.do("PUT", withDigest(r.startUpload("app"), lie), content), http.StatusBadRequest, "DIGEST_INVALID")
			location := r.startUpload("app")
			next := r.header(r.want(http.StatusAccepted, "PATCH", location, content), "Location", "")
			r.refused(r.do("PUT", withDigest(next, lie), nil), http.StatusBadRequest, "DIGEST_INVALID")
			r.want(http.StatusNotFound, "HEAD", "/v2/app/blobs/"+lie.String(), nil)
			r.want(http.StatusNotFound, "HEAD", "/v2/app/blobs/"+algorithm.FromBytes(content).String(), nil)
		}
		for _, bad := range []string{"", "sha256:short", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
			r.refused(r.do("PUT", withDigest(r.startUpload("app"), digest.Digest(bad)), nil), http.StatusBadRequest, "DIGEST_INVALID")
		}
		r.refused(r.do("PUT", r.startUpload("app"), []byte("no digest")), http.StatusBadRequest, "DIGEST_INVALID")
	})},
	{push, "end-4b, end-6", "MUST", "the length fits the content", func(r *registry) {
		location := r.startUpload("app")
		a := r.do("PATCH", location, []byte("four"), "Content-Range", "0-9")
		r.refused(a, http.StatusBadRequest, "SIZE_INVALID")
	}},
	{push, "end-5", "MUST", "a blob is pushed in chunks", each(func(r *registry, algorithm digest.Algorithm) {
		for _, size := range []int{3 * 1024, 300 << 10} {
			for _, closing := range []bool{false, true} {
				content := noise(size)
				d := algorithm.FromBytes(content)
				third := size / 3
				location := r.startUpload("app")
				parts := [][2]int{{0, third}, {third, 2 * third}, {2 * third, size}}
				for i, part := range parts {
					chunk := content[part[0]:part[1]]
					span := fmt.Sprintf("%d-%d", part[0], part[1]-1)
					if i == len(parts)-1 && closing {
						a := r.want(http.StatusCreated, "PUT", withDigest(location, d), chunk, "Content-Range", span)
						r.serves(r.header(a, "Location", ""), content)
						break
					}
					a := r.want(http.StatusAccepted, "PATCH", location, chunk, "Content-Range", span, "Content-Type", "application/octet-stream")
					r.header(a, "Range", fmt.Sprintf("0-%d", part[1]-1))
					location = r.header(a, "Location", "")
				}
				if !closing {
					a := r.want(http.StatusCreated, "PUT", withDigest(location, d), nil)
					r.serves(r.header(a, "Location", ""), content)
				}
			}
		}
	})},
	{push, "end-5", "MUST", "a chunk out of order is refused, and the upload goes on from where it was", each(func(r *registry, algorithm digest.Algorithm) {
		for _, size := range []int{3 * 1024, 300 << 10} {
			content := noise(size)
			third := size / 3
			first := r.startUpload("app")
			a := r.do("PATCH", first, content[third:2*third], "Content-Range", fmt.Sprintf("%d-%d", third, 2*third-1))
			r.refused(a, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID")
			a = r.want(http.StatusAccepted, "PATCH", first, content[:third], "Content-Range", fmt.Sprintf("0-%d", third-1))
			location := r.header(a, "Location", "")
			for _, bad := range []string{
				fmt.Sprintf("0-%d", third-1), fmt.Sprintf("%d-%d", 2*third, 3*third-1),
				fmt.Sprintf("%d-%d", third-1, 2*third-2), fmt.Sprintf("%d-%d", 2*third-1, third), "nonsense", "-5-6",
			} {
				for _, method := range []string{"PATCH", "PUT"} {
					target := location
					if method == "PUT" {
						target = withDigest(location, algorithm.FromBytes(content))
					}
					a := r.do(method, target, content[third:2*third], "Content-Range", bad)
					r.refused(a, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID")
				}
			}
			status := r.want(http.StatusNoContent, "GET", location, nil)
			r.header(status, "Range", fmt.Sprintf("0-%d", third-1))
			location = r.header(status, "Location", "")
			a = r.want(http.StatusCreated, "PUT", withDigest(location, algorithm.FromBytes(content)), content[third:],
				"Content-Range", fmt.Sprintf("%d-%d", third, size-1))
			r.serves(r.header(a, "Location", ""), content)
		}
	})},
	{push, "end-5", "MUST", "a chunk of unknown length is taken", func(r *registry) {
		content := noise(200 << 10)
		a := r.want(http.StatusAccepted, "PATCH", r.startUpload("app"), content, "Transfer-Encoding", "chunked")
		r.header(a, "Range", fmt.Sprintf("0-%d", len(content)-1))
		a = r.want(http.StatusCreated, "PUT", withDigest(r.header(a, "Location", ""), digest.FromBytes(content)), nil)
		r.serves(r.header(a, "Location", ""), content)
	}},
	{push, "end-13", "MUST", "an upload tells how far it is", func(r *registry) {
		location := r.startUpload("app")
		a := r.want(http.StatusNoContent, "GET", location, nil)
		r.header(a, "Location", "")
		r.header(a, "Range", "0-0")
		a = r.want(http.StatusAccepted, "PATCH", location, []byte("twelve bytes"))
		a = r.want(http.StatusNoContent, "GET", r.header(a, "Location", ""), nil)
		r.header(a, "Range", "0-11")
	}},
	{push, "end-5, end-6, end-13, end-14", "MUST", "an upload that is none is not found", func(r *registry) {
		location := r.startUpload("app")
		elsewhere := strings.Replace(location, "/app/", "/other/", 1)
		unknown := "/v2/app/blobs/uploads/" + strings.Repeat("0", 32)
		for _, target := range []string{unknown, elsewhere, "/v2/app/blobs/uploads/registry.db", "/v2/app/blobs/uploads/%2E%2E"} {
			for _, method := range []string{"GET", "PATCH", "DELETE"} {
				r.refused(r.do(method, target, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
			}
			r.refused(r.do("PUT", withDigest(target, digest.FromString("")), nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		}
		r.want(http.StatusNoContent, "GET", location, nil)
	}},
	{push, "end-14", "SHOULD", "an upload can be cancelled", func(r *registry) {
		for _, content := range [][]byte{nil, []byte("a little"), noise(100 << 10)} {
			location := r.startUpload("app")
			if content != nil {
				r.want(http.StatusAccepted, "PATCH", location, content)
			}
			r.want(http.StatusNoContent, "DELETE", location, nil)
			r.refused(r.do("GET", location, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		}
	}},
	{push, "end-11", "MUST", "a blob of another repository is mounted", each(func(r *registry, algorithm digest.Algorithm) {
		content := []byte("mounted by " + algorithm)
		d := algorithm.FromBytes(content)
		r.want(http.StatusCreated, "POST", withDigest("/v2/source/blobs/uploads/", d), content)
		a := r.want(http.StatusCreated, "POST", "/v2/target/blobs/uploads/?mount="+d.String()+"&from=source", nil)
		r.header(a, "Docker-Content-Digest", d.String())
		location := r.header(a, "Location", "")
		if !strings.Contains(location, "/target/") {
			r.t.Errorf("Location is %s", location)
		}
		r.serves(location, content)
	})},
	{push, "end-11", "MAY", "a mount without a source finds one", each(func(r *registry, algorithm digest.Algorithm) {
		content := []byte("found by " + algorithm)
		d := algorithm.FromBytes(content)
		r.want(http.StatusCreated, "POST", withDigest("/v2/source/blobs/uploads/", d), content)
		a := r.want(http.StatusCreated, "POST", "/v2/target/blobs/uploads/?mount="+d.String(), nil)
		r.serves(r.header(a, "Location", ""), content)
	})},
	{push, "end-11", "SHOULD", "a mount that cannot be done is an upload", func(r *registry) {
		r.pushBlob("source", []byte("something"))
		content := []byte("not there")
		d := digest.FromBytes(content)
		for _, from := range []string{"&from=source", "&from=nowhere", "&from=..%2F..", ""} {
			a := r.want(http.StatusAccepted, "POST", "/v2/target/blobs/uploads/?mount="+d.String()+from, nil)
			a = r.want(http.StatusCreated, "PUT", withDigest(r.header(a, "Location", ""), d), content)
			r.serves(r.header(a, "Location", ""), content)
			r.want(http.StatusAccepted, "DELETE", a.Header.Get("Location"), nil)
		}
	}},
}

var pushingManifests = []requirement{
	{push, "end-7", "MUST", "a manifest is stored byte by byte, and can be pulled at its location", each(func(r *registry, algorithm digest.Algorithm) {
		manifest := append([]byte(" "), r.image("app", "stored by "+string(algorithm), func(m object) {
			m["x-unknown"] = object{"kept": []any{1.50, "é"}}
		})...)
		d := algorithm.FromBytes(manifest)
		a := r.want(http.StatusCreated, "PUT", "/v2/app/manifests/"+d.String(), manifest, "Content-Type", typeImage)
		r.header(a, "Docker-Content-Digest", d.String())
		r.serves(r.header(a, "Location", ""), manifest)
		r.serves("/v2/app/manifests/"+d.String(), manifest)
	})},
	{push, "end-7", "MUST", "the digest fits the manifest", each(func(r *registry, algorithm digest.Algorithm) {
		manifest := r.image("app", "lie", nil)
		lie := algorithm.FromString("another manifest")
		r.refused(r.do("PUT", "/v2/app/manifests/"+lie.String(), manifest, "Content-Type", typeImage), http.StatusBadRequest, "DIGEST_INVALID")
		r.refused(r.do("PUT", "/v2/app/manifests/"+algorithm.String()+":baddigeststring", manifest, "Content-Type", typeImage), http.StatusBadRequest, "DIGEST_INVALID")
		r.want(http.StatusNotFound, "GET", "/v2/app/manifests/"+lie.String(), nil)
	})},
	{push, "end-7", "SHOULD", "parameters of the content type are ignored", func(r *registry) {
		manifest := r.image("app", "parameters", nil)
		r.want(http.StatusCreated, "PUT", "/v2/app/manifests/v1", manifest, "Content-Type", typeImage+"; charset=utf-8")
		r.header(r.want(http.StatusOK, "GET", "/v2/app/manifests/v1", nil), "Content-Type", typeImage)
	}},
	{push, "end-7", "MUST", "the content type is the manifest's", func(r *registry) {
		manifest := r.image("app", "type", nil)
		r.refused(r.do("PUT", "/v2/app/manifests/v1", manifest, "Content-Type", typeDockerImage), http.StatusBadRequest, "MANIFEST_INVALID")
		untyped := r.image("app", "type", func(m object) { delete(m, "mediaType") })
		r.want(http.StatusCreated, "PUT", "/v2/app/manifests/v2", untyped, "Content-Type", typeImage)
		r.header(r.want(http.StatusOK, "GET", "/v2/app/manifests/v2", nil), "Content-Type", typeImage)
	}},
	{push, "end-7", "MUST", "a manifest that names what is not there is refused by that code", func(r *registry) {
		manifest := r.image("app", "complete", nil)
		missing := object{"mediaType": typeLayer, "digest": digest.FromString("missing"), "size": 7}
		incomplete := r.image("app", "incomplete", func(m object) { m["layers"] = []object{missing, missing} })
		r.refused(r.do("PUT", "/v2/app/manifests/v1", incomplete, "Content-Type", typeImage), http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
		index := encode(r.t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []object{descriptorOf(typeImage, manifest)}})
		r.refused(r.do("PUT", "/v2/app/manifests/v1", index, "Content-Type", typeIndex), http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
		r.want(http.StatusNotFound, "GET", "/v2/app/manifests/v1", nil)
	}},
	{push, "end-7", "MUST", "the list of blobs may be empty", func(r *registry) {
		r.pushManifest("app", "v1", r.image("app", "no layers", func(m object) { m["layers"] = []object{} }))
		r.pushManifest("app", "v2", encode(r.t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []object{}}))
	}},
	{push, "end-7", "SHOULD", "layers that nobody may distribute need not be there", func(r *registry) {
		elsewhere := object{
			"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
			"digest":    digest.FromString("elsewhere"), "size": 123456, "urls": []string{"https://store.example.com/layer"},
		}
		r.pushManifest("app", "v1", r.image("app", "elsewhere", func(m object) { m["layers"] = append(m["layers"].([]object), elsewhere) }))
	}},
	{push, "end-7", "SHOULD", "manifests up to 4 MiB are taken, and larger ones refused as too large", func(r *registry) {
		padded := func(size int) []byte {
			manifest := r.image("app", "large", func(m object) { m["annotations"] = object{"padding": ""} })
			return bytes.Replace(manifest, []byte(`"padding":"`), []byte(`"padding":"`+strings.Repeat("x", size-len(manifest))), 1)
		}
		largest := padded(4 << 20)
		r.pushManifest("app", "v1", largest)
		r.serves("/v2/app/manifests/v1", largest)
		r.want(http.StatusRequestEntityTooLarge, "PUT", "/v2/app/manifests/v2", padded(4<<20+1), "Content-Type", typeImage)
	}},
	{push, "end-7", "MUST", "lists, and lists of lists, are taken", each(func(r *registry, algorithm digest.Algorithm) {
		describe := func(mediaType string, content []byte) object {
			return object{"mediaType": mediaType, "digest": algorithm.FromBytes(content), "size": len(content)}
		}
		put := func(mediaType string, content []byte) {
			r.want(http.StatusCreated, "PUT", "/v2/app/manifests/"+algorithm.FromBytes(content).String(), content, "Content-Type", mediaType)
		}
		image := r.image("app", "listed by "+string(algorithm), nil)
		put(typeImage, image)
		inner := encode(r.t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []object{describe(typeImage, image)}})
		put(typeIndex, inner)
		outer := encode(r.t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []object{describe(typeIndex, inner)}})
		put(typeIndex, outer)
		r.serves("/v2/app/manifests/"+algorithm.FromBytes(outer).String(), outer)
	})},
	{push, "end-7", "MUST", "Docker's manifests and lists are taken", func(r *registry) {
		image := r.image("app", "docker", func(m object) { m["mediaType"] = typeDockerImage })
		r.pushManifest("app", "v1", image)
		r.header(r.want(http.StatusOK, "GET", "/v2/app/manifests/v1", nil), "Content-Type", typeDockerImage)
		list := encode(r.t, object{"schemaVersion": 2, "mediaType": typeDockerList, "manifests": []object{descriptorOf(typeDockerImage, image)}})
		r.pushManifest("app", "v2", list)
		r.header(r.want(http.StatusOK, "GET", "/v2/app/manifests/v2", nil), "Content-Type", typeDockerList)
	}},
	{push, "end-7", "MUST", "a subject that is not there is taken, and confirmed", func(r *registry) {
		subject := object{"mediaType": typeImage, "digest": digest.FromString("not yet there"), "size": 123}
		manifest := r.image("app", "refers", func(m object) { m["subject"] = subject })
		a := r.pushManifest("app", digest.FromBytes(manifest).String(), manifest)
		r.header(a, "OCI-Subject", digest.FromString("not yet there").String())
		a = r.pushManifest("app", "tagged", manifest)
		r.header(a, "OCI-Subject", digest.FromString("not yet there").String())
		if a := r.pushManifest("app", "plain", r.image("app", "plain", nil)); a.Header.Get("OCI-Subject") != "" {
			r.t.Error("a manifest without subject has OCI-Subject")
		}
	}},
	{push, "end-7", "MAY", "a push by digest gives tags", each(func(r *registry, algorithm digest.Algorithm) {
		manifest := r.image("app", "tagged by "+string(algorithm), nil)
		d := algorithm.FromBytes(manifest)
		a := r.want(http.StatusCreated, "PUT", "/v2/app/manifests/"+d.String()+"?tag=one&tag=two", manifest, "Content-Type", typeImage)
		if diff := cmp.Diff([]string{"one", "two"}, a.Header.Values("OCI-Tag")); diff != "" {
			r.t.Error(diff)
		}
		for _, tag := range []string{"one", "two"} {
			r.header(r.want(http.StatusOK, "HEAD", "/v2/app/manifests/"+tag, nil), "Docker-Content-Digest", d.String())
		}
	})},
	{push, "end-7", "MUST", "what is no manifest is refused", func(r *registry) {
		config := r.pushBlob("app", []byte("{}"))
		d := object{"mediaType": typeConfig, "digest": config, "size": 2}
		for name, content := range map[string][]byte{
			"nothing":           {},
			"no JSON":           []byte("<html>"),
			"an array":          []byte("[]"),
			"null":              []byte("null"),
			"two documents":     []byte("{}{}"),
			"no schema version": encode(r.t, object{"mediaType": typeImage, "config": d, "layers": []object{}}),
			"schema version 1":  encode(r.t, object{"schemaVersion": 1, "name": "app", "tag": "v1", "fsLayers": []object{}}),
			"no config":         encode(r.t, object{"schemaVersion": 2, "mediaType": typeImage, "layers": []object{}}),
			"two kinds at once": encode(r.t, object{"schemaVersion": 2, "mediaType": typeImage, "config": d, "layers": []object{}, "manifests": []object{}}),
			"list with layers":  encode(r.t, object{"schemaVersion": 2, "mediaType": typeIndex, "layers": []object{}, "manifests": []object{}}),
			"an unknown type":   encode(r.t, object{"schemaVersion": 2, "mediaType": "text/plain", "config": d}),
			"a bad digest":      encode(r.t, object{"schemaVersion": 2, "mediaType": typeImage, "config": object{"digest": "sha256:../../x", "size": 1}}),
			"a negative size":   encode(r.t, object{"schemaVersion": 2, "mediaType": typeImage, "config": object{"digest": config, "size": -2}}),
			"another size":      encode(r.t, object{"schemaVersion": 2, "mediaType": typeImage, "config": object{"digest": config, "size": 3}}),
			"a bad subject":     encode(r.t, object{"schemaVersion": 2, "mediaType": typeImage, "config": d, "subject": object{"digest": "x"}}),
			"deep nesting":      []byte(strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)),
		} {
			a := r.do("PUT", "/v2/app/manifests/v1", content)
			if a.StatusCode != http.StatusBadRequest || !slices.Contains(a.codes(), "MANIFEST_INVALID") {
				r.t.Errorf("%s: %d %.300s", name, a.StatusCode, a.body)
			}
		}
		r.refused(r.do("GET", "/v2/app/manifests/v1", nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
	}},
}

type index struct {
	SchemaVersion int
	MediaType     string
	Manifests     []struct {
		MediaType, ArtifactType string
		Digest                  digest.Digest
		Size                    int
		Annotations             map[string]string
	}
}

func (r *registry) referrers(location string) (index, *answer) {
	r.t.Helper()
	a := r.want(http.StatusOK, "GET", location, nil)
	r.header(a, "Content-Type", typeIndex)
	var list index
	if err := json.Unmarshal(a.body, &list); err != nil {
		r.t.Fatal(err)
	}
	if list.SchemaVersion != 2 || list.MediaType != typeIndex || list.Manifests == nil {
		r.t.Errorf("GET %s: %s", location, a.body)
	}
	return list, a
}

func (r *registry) tagList(location string) ([]string, *answer) {
	r.t.Helper()
	a := r.want(http.StatusOK, "GET", location, nil)
	var list struct {
		Name string
		Tags []string
	}
	if err := json.Unmarshal(a.body, &list); err != nil || list.Tags == nil || !strings.Contains(location, "/v2/"+list.Name+"/") {
		r.t.Fatalf("GET %s: %s (%v)", location, a.body, err)
	}
	return list.Tags, a
}

// next returns the location of the Link header, or "".
func (r *registry) next(a *answer) string {
	r.t.Helper()
	link := a.Header.Get("Link")
	if link == "" {
		return ""
	}
	location, rest, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.Contains(rest, `rel="next"`) {
		r.t.Fatalf("Link is %q", link)
	}
	return location
}

// tagged pushes an image under tags.
func (r *registry) tagged(tags ...string) {
	r.t.Helper()
	manifest := r.image("app", "tagged", nil)
	for _, tag := range tags {
		r.pushManifest("app", tag, manifest)
	}
}

var discovering = []requirement{
	{discovery, "end-8a", "MUST", "the tags are listed in the order of their bytes", func(r *registry) {
		r.tagged("b", "a", "Z", "_", "a.1", "a-1", "10", "9")
		tags, _ := r.tagList("/v2/app/tags/list")
		if diff := cmp.Diff([]string{"10", "9", "Z", "_", "a", "a-1", "a.1", "b"}, tags); diff != "" {
			r.t.Error(diff)
		}
	}},
	{discovery, "end-8a", "MUST", "a repository without tags has an empty list, and none that is none", func(r *registry) {
		r.pushBlob("app", []byte("only a blob"))
		if tags, _ := r.tagList("/v2/app/tags/list"); len(tags) != 0 {
			r.t.Errorf("tags: %v", tags)
		}
		r.refused(r.do("GET", "/v2/nowhere/tags/list", nil), http.StatusNotFound, "NAME_UNKNOWN")
	}},
	{discovery, "end-8b", "MUST", "n limits the list, and a link goes on", func(r *registry) {
		r.tagged("a", "b", "c", "d", "e")
		var all []string
		pages := 0
		for location := "/v2/app/tags/list?n=2"; location != ""; pages++ {
			tags, a := r.tagList(location)
			if len(tags) != 2 && r.next(a) != "" {
				r.t.Errorf("a page has %v", tags)
			}
			all = append(all, tags...)
			location = r.next(a)
		}
		if diff := cmp.Diff([]string{"a", "b", "c", "d", "e"}, all); diff != "" || pages != 3 {
			r.t.Errorf("%d pages %s", pages, diff)
		}
		tags, a := r.tagList("/v2/app/tags/list?n=5")
		if len(tags) != 5 || r.next(a) != "" {
			r.t.Errorf("n=5: %v %q", tags, a.Header.Get("Link"))
		}
	}},
	{discovery, "end-8b", "MUST", "n=0 is an empty list without a link", func(r *registry) {
		r.tagged("a", "b")
		tags, a := r.tagList("/v2/app/tags/list?n=0")
		if len(tags) != 0 || a.Header.Get("Link") != "" {
			r.t.Errorf("%v %q", tags, a.Header.Get("Link"))
		}
	}},
	{discovery, "end-8b", "MUST", "last begins after a tag, which need not exist, with or without n", func(r *registry) {
		r.tagged("a", "b", "c", "d")
		for query, want := range map[string][]string{
			"last=b": {"c", "d"}, "n=1&last=b": {"c"}, "last=bb": {"c", "d"}, "last=d": {}, "last=": {"a", "b", "c", "d"}, "n=100&last=a": {"b", "c", "d"},
		} {
			if tags, _ := r.tagList("/v2/app/tags/list?" + query); !slices.Equal(tags, want) {
				r.t.Errorf("%s: %v, want %v", query, tags, want)
			}
		}
	}},
	{discovery, "end-8b", "SHOULD", "an n that is no number is refused", func(r *registry) {
		r.tagged("a")
		for _, n := range []string{"-1", "x", "", "1.5", "99999999999999999999"} {
			r.want(http.StatusBadRequest, "GET", "/v2/app/tags/list?n="+n, nil)
		}
	}},
	{discovery, "end-12a", "MUST", "what has no referrers, or is not there, has an empty list", each(func(r *registry, algorithm digest.Algorithm) {
		r.tagged("v1")
		for _, repository := range []string{"app", "nowhere"} {
			list, _ := r.referrers("/v2/" + repository + "/referrers/" + algorithm.FromString("missing").String())
			if len(list.Manifests) != 0 {
				r.t.Errorf("%v", list)
			}
		}
	})},
	{discovery, "end-12a", "MUST", "a digest that is none is refused", func(r *registry) {
		r.tagged("v1")
		for _, bad := range []string{"v1", "sha256:short", "sha256"} {
			r.refused(r.do("GET", "/v2/app/referrers/"+bad, nil), http.StatusBadRequest, "DIGEST_INVALID")
		}
	}},
	{discovery, "end-12a", "MUST", "referrers are described with type, size, artifact type and annotations", each(func(r *registry, algorithm digest.Algorithm) {
		subject := r.image("app", "subject by "+string(algorithm), nil)
		d := algorithm.FromBytes(subject)
		r.want(http.StatusCreated, "PUT", "/v2/app/manifests/"+d.String(), subject, "Content-Type", typeImage)
		refers := object{"mediaType": typeImage, "digest": d, "size": len(subject)}
		typed := r.image("app", "typed", func(m object) {
			m["subject"], m["artifactType"], m["annotations"] = refers, "application/vnd.example.sbom", object{"a": "1", "b": "2"}
		})
		untyped := r.image("app", "untyped", func(m object) { m["subject"] = refers })
		list := encode(r.t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []object{}, "subject": refers})
		for _, m := range [][]byte{typed, untyped, list} {
			r.pushManifest("app", digest.FromBytes(m).String(), m)
		}
		got, _ := r.referrers("/v2/app/referrers/" + d.String())
		described := make(map[digest.Digest]string)
		for _, m := range got.Manifests {
			described[m.Digest] = fmt.Sprint(m.MediaType, " ", m.Size, " ", m.ArtifactType, " ", m.Annotations)
		}
		want := map[digest.Digest]string{
			digest.FromBytes(typed):   fmt.Sprint(typeImage, " ", len(typed), " application/vnd.example.sbom map[a:1 b:2]"),
			digest.FromBytes(untyped): fmt.Sprint(typeImage, " ", len(untyped), " ", typeConfig, " map[]"),
			digest.FromBytes(list):    fmt.Sprint(typeIndex, " ", len(list), "  map[]"),
		}
		if diff := cmp.Diff(want, described); diff != "" {
			r.t.Error(diff)
		}
	})},
	{discovery, "end-12b", "MUST", "a filter that is applied is named", func(r *registry) {
		subject := object{"mediaType": typeImage, "digest": digest.FromString("subject"), "size": 7}
		for _, artifactType := range []string{"application/vnd.example.a", "application/vnd.example.b"} {
			m := r.image("app", artifactType, func(m object) { m["subject"], m["artifactType"] = subject, artifactType })
			r.pushManifest("app", digest.FromBytes(m).String(), m)
		}
		base := "/v2/app/referrers/" + digest.FromString("subject").String()
		for filter, want := range map[string]int{"application/vnd.example.a": 1, "application/vnd.example.c": 0} {
			list, a := r.referrers(base + "?artifactType=" + url.QueryEscape(filter))
			r.header(a, "OCI-Filters-Applied", "artifactType")
			if len(list.Manifests) != want {
				r.t.Errorf("%s: %d referrers", filter, len(list.Manifests))
			}
		}
		list, a := r.referrers(base)
		if len(list.Manifests) != 2 || a.Header.Get("OCI-Filters-Applied") != "" {
			r.t.Errorf("without a filter: %d referrers, %q", len(list.Manifests), a.Header.Get("OCI-Filters-Applied"))
		}
	}},
	{discovery, "end-12a", "MUST", "a list that is too long is linked, and no descriptor comes twice", func(r *registry) {
		r = newRegistryWith(r.t, store.Options{}, func(h *oci.Handler) { h.MaxReferrers = 3 << 10 })
		subject := object{"mediaType": typeImage, "digest": digest.FromString("popular"), "size": 7}
		for i := range 3 {
			m := r.image("app", "large", func(m object) {
				m["subject"], m["annotations"] = subject, object{"n": strconv.Itoa(i), "padding": strings.Repeat("x", 2<<10)}
			})
			r.pushManifest("app", digest.FromBytes(m).String(), m)
		}
		seen := make(map[digest.Digest]bool)
		pages := 0
		for location := "/v2/app/referrers/" + digest.FromString("popular").String(); location != ""; pages++ {
			list, a := r.referrers(location)
			for _, m := range list.Manifests {
				seen[m.Digest] = true
			}
			location = r.next(a)
		}
		if len(seen) != 3 || pages != 3 {
			r.t.Errorf("%d referrers on %d pages", len(seen), pages)
		}
	}},
}

var managing = []requirement{
	{management, "end-9", "MUST", "a deleted tag is gone, and its manifest is not", func(r *registry) {
		manifest := r.image("app", "untagged", nil)
		r.pushManifest("app", "v1", manifest)
		r.pushManifest("app", "v2", manifest)
		r.want(http.StatusAccepted, "DELETE", "/v2/app/manifests/v1", nil)
		r.want(http.StatusNotFound, "GET", "/v2/app/manifests/v1", nil)
		r.serves("/v2/app/manifests/v2", manifest)
		r.serves("/v2/app/manifests/"+digest.FromBytes(manifest).String(), manifest)
		if tags, _ := r.tagList("/v2/app/tags/list"); !slices.Equal(tags, []string{"v2"}) {
			r.t.Errorf("tags: %v", tags)
		}
	}},
	{management, "end-9", "MUST", "a deleted manifest is gone with all its tags", each(func(r *registry, algorithm digest.Algorithm) {
		manifest := r.image("app", "deleted by "+string(algorithm), nil)
		d := algorithm.FromBytes(manifest)
		r.want(http.StatusCreated, "PUT", "/v2/app/manifests/"+d.String()+"?tag=v1&tag=v2", manifest, "Content-Type", typeImage)
		r.want(http.StatusAccepted, "DELETE", "/v2/app/manifests/"+d.String(), nil)
		for _, reference := range []string{d.String(), "v1", "v2"} {
			r.want(http.StatusNotFound, "GET", "/v2/app/manifests/"+reference, nil)
			r.want(http.StatusNotFound, "HEAD", "/v2/app/manifests/"+reference, nil)
		}
		if tags, _ := r.tagList("/v2/app/tags/list"); len(tags) != 0 {
			r.t.Errorf("tags: %v", tags)
		}
		r.want(http.StatusCreated, "PUT", "/v2/app/manifests/"+d.String(), manifest, "Content-Type", typeImage)
		r.serves("/v2/app/manifests/"+d.String(), manifest)
	})},
	{management, "end-9", "MUST", "what is not there cannot be deleted", func(r *registry) {
		r.tagged("v1")
		missing := digest.FromString("missing").String()
		r.refused(r.do("DELETE", "/v2/app/manifests/v2", nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
		r.refused(r.do("DELETE", "/v2/app/manifests/"+missing, nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
		r.refused(r.do("DELETE", "/v2/nowhere/manifests/v1", nil), http.StatusNotFound, "NAME_UNKNOWN")
		r.refused(r.do("DELETE", "/v2/nowhere/manifests/"+missing, nil), http.StatusNotFound, "NAME_UNKNOWN")
	}},
	{management, "end-9", "MUST", "a deleted referrer is not listed", func(r *registry) {
		subject := object{"mediaType": typeImage, "digest": digest.FromString("subject"), "size": 7}
		m := r.image("app", "referrer", func(m object) { m["subject"] = subject })
		r.pushManifest("app", digest.FromBytes(m).String(), m)
		r.want(http.StatusAccepted, "DELETE", "/v2/app/manifests/"+digest.FromBytes(m).String(), nil)
		if list, _ := r.referrers("/v2/app/referrers/" + digest.FromString("subject").String()); len(list.Manifests) != 0 {
			r.t.Errorf("%v", list)
		}
	}},
	{management, "end-9", "MAY", "a part of a list cannot be deleted before the list", func(r *registry) {
		image := r.image("app", "part", nil)
		d := digest.FromBytes(image)
		r.pushManifest("app", d.String(), image)
		list := encode(r.t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []object{descriptorOf(typeImage, image)}})
		r.pushManifest("app", "v1", list)
		r.refused(r.do("DELETE", "/v2/app/manifests/"+d.String(), nil), http.StatusMethodNotAllowed, "UNSUPPORTED")
		r.want(http.StatusAccepted, "DELETE", "/v2/app/manifests/"+digest.FromBytes(list).String(), nil)
		r.want(http.StatusAccepted, "DELETE", "/v2/app/manifests/"+d.String(), nil)
	}},
	{management, "end-10", "MUST", "a deleted blob is gone from its repository, and can come again", each(func(r *registry, algorithm digest.Algorithm) {
		for _, content := range [][]byte{{}, []byte("deleted by " + algorithm), noise(100 << 10)} {
			d := algorithm.FromBytes(content)
			for _, repository := range []string{"app", "other"} {
				r.want(http.StatusCreated, "POST", withDigest("/v2/"+repository+"/blobs/uploads/", d), content)
			}
			r.want(http.StatusAccepted, "DELETE", "/v2/app/blobs/"+d.String(), nil)
			r.want(http.StatusNotFound, "GET", "/v2/app/blobs/"+d.String(), nil)
			r.want(http.StatusNotFound, "HEAD", "/v2/app/blobs/"+d.String(), nil)
			r.refused(r.do("DELETE", "/v2/app/blobs/"+d.String(), nil), http.StatusNotFound, "BLOB_UNKNOWN")
			r.serves("/v2/other/blobs/"+d.String(), content)
			r.want(http.StatusCreated, "POST", withDigest("/v2/app/blobs/uploads/", d), content)
			r.serves("/v2/app/blobs/"+d.String(), content)
		}
	})},
	{management, "end-10", "MUST", "what is not there cannot be deleted", func(r *registry) {
		r.tagged("v1")
		missing := digest.FromString("missing").String()
		r.refused(r.do("DELETE", "/v2/app/blobs/"+missing, nil), http.StatusNotFound, "BLOB_UNKNOWN")
		r.refused(r.do("DELETE", "/v2/nowhere/blobs/"+missing, nil), http.StatusNotFound, "NAME_UNKNOWN")
		r.refused(r.do("DELETE", "/v2/app/blobs/sha256:short", nil), http.StatusBadRequest, "DIGEST_INVALID")
	}},
	{management, "end-10", "MAY", "a part of an image cannot be deleted before the image", func(r *registry) {
		manifest := r.image("app", "whole", nil)
		r.pushManifest("app", "v1", manifest)
		layer := digest.FromString("layer of whole").String()
		r.refused(r.do("DELETE", "/v2/app/blobs/"+layer, nil), http.StatusMethodNotAllowed, "UNSUPPORTED")
		r.want(http.StatusAccepted, "DELETE", "/v2/app/manifests/v1", nil)
		r.refused(r.do("DELETE", "/v2/app/blobs/"+layer, nil), http.StatusMethodNotAllowed, "UNSUPPORTED")
		r.want(http.StatusAccepted, "DELETE", "/v2/app/manifests/"+digest.FromBytes(manifest).String(), nil)
		r.want(http.StatusAccepted, "DELETE", "/v2/app/blobs/"+layer, nil)
		r.want(http.StatusNotFound, "HEAD", "/v2/app/blobs/"+layer, nil)
	}},
	{management, "any", "MUST", "a method that a path does not know is refused", func(r *registry) {
		r.tagged("v1")
		for _, path := range []string{"/v2/app/manifests/v1", "/v2/app/tags/list", "/v2/", "/v2/app/blobs/uploads/"} {
			a := r.do("OPTIONS", path, nil)
			r.refused(a, http.StatusMethodNotAllowed, "UNSUPPORTED")
			r.header(a, "Allow", "")
		}
	}},
}
