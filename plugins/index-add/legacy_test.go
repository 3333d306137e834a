package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/index"
	"github.com/iib-engine/iib/sdk/sdktest"
)

const token = "basic c2VjcmV0"

// newLegacy is an export to a push service that gives these answers in turn.
func newLegacy(t *testing.T, answers ...func(w http.ResponseWriter)) (l *legacy, asked *int) {
	asked = new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, header, err := r.FormFile("file")
		if err != nil || r.URL.Path != "/v2/o/zipfile" || r.Header.Get("Authorization") != token {
			t.Errorf("%s: %v", r.URL, err)
			return
		}
		if data, err := io.ReadAll(file); err != nil || string(data) != "archive" || header.Filename != "manifests.zip" {
			t.Errorf("%s: %q, %v", header.Filename, data, err)
		}
		answers[*asked](w)
		*asked++
	}))
	t.Cleanup(server.Close)
	job := sdktest.NewJob(t, sdktest.Request("add", addParams{}), new(sdktest.Recorder))
	a := &add{Session: &index.Session{Job: job}, params: &addParams{Organization: "o"}}
	return &legacy{add: a, settings: &ompsSettings{URL: server.URL + "/v2/"}, token: token, client: http.DefaultClient}, asked
}

func answer(status int, text string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

func TestAPushIsTriedAgainOnlyIfItChangedNothing(t *testing.T) {
	ok := answer(200, `{"version": "3.0.0"}`)
	for name, c := range map[string]struct {
		answers []func(http.ResponseWriter)
		version string
		code    sdk.Code
		words   string
	}{
		"at once":              {[]func(http.ResponseWriter){ok}, "3.0.0", "", ""},
		"after two outages":    {[]func(http.ResponseWriter){answer(503, ""), answer(502, "x"), ok}, "3.0.0", "", ""},
		"three outages":        {[]func(http.ResponseWriter){answer(503, ""), answer(503, ""), answer(503, "down")}, "", sdk.Internal, "status 503: down"},
		"a refusal":            {[]func(http.ResponseWriter){answer(400, `{"status": 400, "error": "PackageValidationError", "message": "bundle is invalid"}`)}, "", sdk.Invalid, "organization o of the legacy application registry: bundle is invalid"},
		"a wrong token":        {[]func(http.ResponseWriter){answer(403, `{"message": "Unauthorized access"}`)}, "", sdk.Denied, "Unauthorized access"},
		"a fault of the other": {[]func(http.ResponseWriter){answer(500, `{"message": "package-exists"}`)}, "", sdk.Internal, "package-exists"},
		"no version":           {[]func(http.ResponseWriter){answer(200, `{}`)}, "", sdk.Internal, "status 200"},
	} {
		t.Run(name, func(t *testing.T) {
			l, asked := newLegacy(t, c.answers...)
			version, err := l.push(t.Context(), "web", []byte("archive"))
			if version != c.version || (err == nil) != (c.code == "") || err != nil && (sdk.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.words)) {
				t.Errorf("got %q, %v (%s)", version, err, sdk.CodeOf(err))
			}
			if *asked != len(c.answers) {
				t.Errorf("asked %d times, want %d", *asked, len(c.answers))
			}
			if err != nil && strings.Contains(err.Error(), "c2VjcmV0") {
				t.Error("the token is in the error")
			}
		})
	}
	t.Run("nobody answers", func(t *testing.T) {
		l, _ := newLegacy(t)
		l.settings.URL = "http://127.0.0.1:1/"
		if _, err := l.push(t.Context(), "web", nil); sdk.CodeOf(err) != sdk.Internal || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Error(err)
		}
	})
}

func TestAnExportHasThePackageManifestForm(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"csv.yaml": "a", "deep/crd.yaml": "b"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	described, err := describe(&index.Operator{Name: "web", DefaultChannel: "stable", Channels: []index.Channel{{Name: "stable", Head: "web.v1"}}})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"package.yaml": described}
	left := int64(2)
	if err := collect(files, dir, "1.0.0", &left); err != nil {
		t.Fatal(err)
	}
	if err := collect(files, dir, "2.0.0", &left); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("over the limit: %v", err)
	}
	data, err := zipped(files)
	if err != nil {
		t.Fatal(err)
	}
	again, err := zipped(files)
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("a second time it differs: %v", err)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(r)
		got[f.Name] = string(content)
	}
	want := map[string]string{
		"package.yaml":   "packageName: web\nchannels:\n    - name: stable\n      currentCSV: web.v1\ndefaultChannel: stable\n",
		"1.0.0/csv.yaml": "a", "1.0.0/deep/crd.yaml": "b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := os.Symlink("csv.yaml", filepath.Join(dir, "same.yaml")); err != nil {
		t.Fatal(err)
	}
	left = 100
	if err := collect(files, dir, "3.0.0", &left); err != nil || string(files["3.0.0/same.yaml"]) != "a" {
		t.Errorf("a link within: %q, %v", files["3.0.0/same.yaml"], err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	left = 100
	if err := collect(files, dir, "3.0.0", &left); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("a link: %v", err)
	}
}

// bundleOf is a bundle of a package, with the label for the export unless that is "".
func bundleOf(pkg, label string) *index.Bundle {
	labels := map[string]string{"operators.operatorframework.io.bundle.package.v1": pkg}
	if label != "" {
		labels[labelBackport] = label
	}
	return &index.Bundle{Labels: labels}
}

func TestPackagesAreExportedThatHaveTo(t *testing.T) {
	bundle := bundleOf
	job := sdktest.NewJob(t, sdktest.Request("add", addParams{}), new(sdktest.Recorder))
	for name, c := range map[string]struct {
		bundles  []*index.Bundle
		settings ompsSettings
		version  string
		force    bool
		want     []string
	}{
		"none without a label":               {[]*index.Bundle{bundle("a", "")}, ompsSettings{}, "v4.5", false, nil},
		"the label is YAML":                  {[]*index.Bundle{bundle("a", "True"), bundle("b", "yes"), bundle("c", " true "), bundle("d", `"true"`)}, ompsSettings{}, "v4.5", false, []string{"a", "b", "c"}},
		"false is false, and so is nonsense": {[]*index.Bundle{bundle("a", "false"), bundle("b", "no"), bundle("c", "1"), bundle("d", "{"), bundle("e", "[true]")}, ompsSettings{}, "v4.5", false, nil},
		"only in v4.5, if nothing is said":   {[]*index.Bundle{bundle("a", "true")}, ompsSettings{}, "v4.6", false, nil},
		"not in an index without a version":  {[]*index.Bundle{bundle("a", "true")}, ompsSettings{}, "", false, nil},
		"in the versions that are said":      {[]*index.Bundle{bundle("a", "true")}, ompsSettings{Versions: []string{"v4.6", "v4.7"}}, "v4.6", false, []string{"a"}},
		"all when forced, in every version":  {[]*index.Bundle{bundle("b", "false"), bundle("a", "")}, ompsSettings{}, "v4.14", true, []string{"a", "b"}},
		"each package once":                  {[]*index.Bundle{bundle("b", "true"), bundle("a", "true"), bundle("b", "true")}, ompsSettings{}, "v4.5", false, []string{"a", "b"}},
		"a bundle of no package has none":    {[]*index.Bundle{bundle("", "true")}, ompsSettings{}, "v4.5", true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := &add{Session: &index.Session{Job: job}, params: &addParams{ForceBackport: c.force}, handler: &handler{OMPS: &c.settings}, bundles: c.bundles}
			if diff := cmp.Diff(c.want, a.legacyPackages(t.Context(), &index.Plan{Version: c.version})); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("a package that the index does not have is refused", func(t *testing.T) {
		l := &legacy{add: &add{Session: &index.Session{Job: job}}}
		if _, err := l.archive(t.Context(), &index.Operator{Name: "a"}); sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "missing in the index") {
			t.Error(err)
		}
	})
}

func TestWithoutAPushServiceTheLegacyParametersAreIgnored(t *testing.T) {
	for name, c := range map[string]struct {
		label string
		force bool
		want  string
	}{
		"a bundle that is marked":  {"true", false, "the packages a are marked"},
		"a bundle that is not":     {"false", false, ""},
		"an export that is forced": {"false", true, "force_backport is ignored"},
	} {
		t.Run(name, func(t *testing.T) {
			recorder := new(sdktest.Recorder)
			job := sdktest.NewJob(t, sdktest.Request("add", addParams{}), recorder)
			a := &add{Session: &index.Session{Job: job}, params: &addParams{ForceBackport: c.force, Organization: "o"}, handler: new(handler), bundles: []*index.Bundle{bundleOf("a", c.label)}}
			if err := a.planLegacy(t.Context(), &index.Plan{Version: "v4.5"}); err != nil || a.legacy != nil {
				t.Fatalf("%v, %+v", err, a.legacy)
			}
			if err := errors.Join(a.readLegacy(t.Context(), nil), a.exportLegacy(t.Context())); err != nil {
				t.Error(err)
			}
			var warnings []string
			for _, line := range recorder.Record().Lines {
				if line.Level == sdk.LevelWarn {
					warnings = append(warnings, line.Text)
				}
			}
			if text := strings.Join(warnings, "; "); (text == "") != (c.want == "") || !strings.Contains(text, c.want) {
				t.Errorf("the warnings are %q, want %q", text, c.want)
			}
		})
	}
}
