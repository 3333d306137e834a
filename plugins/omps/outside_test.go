package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

// outside plays Koji, Greenwave and Quay as their documents describe them.
type outside struct {
	mu     sync.Mutex
	heard  []string
	answer map[string]func(w http.ResponseWriter, body string)
}

func (o *outside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := r.Method + " " + r.URL.RequestURI()
	o.mu.Lock()
	o.heard = append(o.heard, key)
	answer := o.answer[key]
	if answer == nil {
		answer = o.answer[r.URL.Path]
	}
	o.mu.Unlock()
	if answer == nil {
		http.Error(w, "{}", http.StatusNotFound)
		return
	}
	answer(w, string(body))
}

func (o *outside) set(key string, answer func(w http.ResponseWriter, body string)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer[key] = answer
}

func says(status int, text string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, _ string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

func elsewhere(address string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, _ string) {
		w.Header().Set("Location", address)
		w.WriteHeader(http.StatusFound)
	}
}

func startOutside(t testing.TB) (*outside, string) {
	o := &outside{answer: make(map[string]func(http.ResponseWriter, string))}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	return o, server.URL
}

// build is a hub's answer about a build.
func build(extra string) string {
	return `<?xml version='1.0'?><methodResponse><params><param><value><struct>` +
		`<member><name>build_id</name><value><int>42</int></value></member>` +
		`<member><name>name</name><value><string>op</string></value></member>` +
		`<member><name>version</name><value>1</value></member>` +
		`<member><name>release</name><value><string>2</string></value></member>` +
		`<member><name>volume_name</name><value><string>DEFAULT</string></value></member>` +
		`<member><name>extra</name><value>` + extra + `</value></member></struct></value></param></params></methodResponse>`
}

func TestBuildsArePushedFromKoji(t *testing.T) {
	o, address := startOutside(t)
	url := serveOMPS(t, images(t), func(s *Settings) {
		s.Koji = &KojiSettings{Hub: address + "/kojihub", Root: address + "/kojiroot/"}
		s.Greenwave = &GreenwaveSettings{URL: address + "/gw/", Context: "ctx", ProductVersion: "pv"}
		s.MaxUncompressed = 100_000
	})
	const newStyle = `<struct><member><name>typeinfo</name><value><struct><member><name>operator-manifests</name><value><struct><member><name>archive</name><value><string>m.zip</string></value></member></struct></value></member></struct></value></member></struct>`
	const oldStyle = `<struct><member><name>operator_manifests_archive</name><value><string>old.zip</string></value></member></struct>`
	const fileURL, logURL = "/kojiroot/packages/op/1/2/files/operator-manifests/m.zip", "/kojiroot/logs/old.zip"
	logs := `<methodResponse><params><param><value><array><data><value><struct><member><name>name</name><value><string>%s</string></value></member><member><name>path</name><value><string>logs/old.zip</string></value></member></struct></value></data></array></value></param></params></methodResponse>`
	good := string(zipOf(t, operator("op")))
	hub := func(build, logs string) {
		o.set("/kojihub", func(w http.ResponseWriter, body string) {
			switch {
			case strings.Contains(body, "<methodName>getBuild</methodName>"):
				if !strings.Contains(body, "<string>op-1-2</string>") {
					t.Errorf("the hub was asked %s", body)
				}
				_, _ = io.WriteString(w, build)
			case strings.Contains(body, "<methodName>getBuildLogs</methodName>") && strings.Contains(body, "<int>42</int>"):
				_, _ = io.WriteString(w, logs)
			case strings.Contains(body, "getAPIVersion"):
				_, _ = io.WriteString(w, `<methodResponse><params><param><value><int>1</int></value></param></params></methodResponse>`)
			default:
				t.Errorf("the hub was asked %s", body)
			}
		})
	}
	satisfied := says(200, `{"policies_satisfied": true}`)
	nothing := `<methodResponse><params><param><value><nil/></value></param></params></methodResponse>`
	refusal := `<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>1000</int></value></member><member><name>faultString</name><value><string>%s</string></value></member></struct></value></fault></methodResponse>`
	for _, c := range []struct {
		name, build, logs string
		gate, file        func(http.ResponseWriter, string)
		status            int
		id, words         string
	}{
		{"a build of today", build(newStyle), "", satisfied, says(200, good), 200, "", ""},
		{"a build of old", build(oldStyle), fmt.Sprintf(logs, "old.zip"), satisfied, says(200, good), 200, "", ""},
		{"a gate that says so in other words", build(newStyle), "", says(200, `{"policies_satisfied": 1}`), says(200, good), 200, "", ""},
		{"a gate that says no in other words", build(newStyle), "", says(200, `{"policies_satisfied": [], "summary": "s"}`), says(200, good), 400, "GreenwaveUnsatisfiedError", "op-1-2"},
		{"an unknown build", nothing, "", satisfied, nil, 404, "KojiNVRBuildNotFound", "NVR not found"},
		{"no NVR", fmt.Sprintf(refusal, "invalid format: op"), "", satisfied, nil, 404, "KojiNVRBuildNotFound", "NVR not found"},
		{"a fault of the hub", fmt.Sprintf(refusal, "database down"), "", satisfied, nil, 500, "KojiError", "database down"},
		{"no XML", "{}", "", satisfied, nil, 500, "KojiError", "XML-RPC"},
		{"very deep XML", "<methodResponse>" + strings.Repeat("<value><array><data>", 10_000), "", satisfied, nil, 500, "KojiError", "deep"},
		{"no operator", build(`<struct></struct>`), "", satisfied, nil, 400, "KojiNotAnOperatorImage", "Not an operator image"},
		{"no extra", build(`<nil/>`), "", satisfied, nil, 400, "KojiNotAnOperatorImage", "Not an operator image"},
		{"an archive that is no log", build(oldStyle), fmt.Sprintf(logs, "x"), satisfied, nil, 500, "KojiManifestsArchiveNotFound", "old.zip"},
		{"a path to above", build(strings.Replace(newStyle, "m.zip", "../../m.zip", 1)), "", satisfied, nil, 500, "KojiError", "no usable path"},
		{"no file", build(newStyle), "", satisfied, says(404, ""), 500, "KojiError", "404"},
		{"a file in a denied network", build(newStyle), "", satisfied, elsewhere("http://127.0.0.2:1/"), 500, "KojiError", "denied network 127.0.0.2/32"},
		{"a file too large", build(newStyle), "", satisfied, says(200, strings.Repeat("x", 100_001)), 400, "OMPSUploadedFileError", "larger than limit"},
		{"no zip", build(newStyle), "", satisfied, says(200, "x"), 400, "OMPSUploadedFileError", "not a zip file"},
		{"no zip, and the gate is asked first", build(newStyle), "", says(200, `{"policies_satisfied": false, "summary": "s"}`), says(200, "x"), 400, "GreenwaveUnsatisfiedError", "op-1-2"},
		{"a gate of another opinion", build(newStyle), "", says(200, `{}`), says(200, good), 500, "GreenwaveError", ""},
		{"a gate that is down", build(newStyle), "", says(503, "x"), says(200, good), 500, "GreenwaveError", "503"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hub(c.build, c.logs)
			o.set(fileURL, c.file)
			o.set(logURL, c.file)
			o.set("/gw/api/v1.0/decision", func(w http.ResponseWriter, body string) {
				want := `{"decision_context":"ctx","product_version":"pv","subject_identifier":"op-1-2","subject_type":"koji_build"}`
				if body != want {
					t.Errorf("the gate was asked %s", body)
				}
				c.gate(w, body)
			})
			status, answer := ask(t, "POST", url+"/v2/o/koji/op-1-2", map[string]string{"Authorization": authorization}, nil)
			if c.id == "" {
				if object, _ := answer.(map[string]any); status != 200 || object["nvr"] != "op-1-2" || object["repo"] != "op" {
					t.Errorf("%d %v", status, answer)
				}
				return
			}
			wantFault(t, status, answer, c.status, c.id, c.words)
			if c.id == "GreenwaveUnsatisfiedError" && answer.(map[string]any)["greenwave_response"].(map[string]any)["summary"] != "s" {
				t.Errorf("%v", answer)
			}
		})
	}
	t.Run("health asks all three", func(t *testing.T) {
		o.set("GET /gw/api/v1.0/about", says(200, `{"version": "1"}`))
		works := map[string]any{"ok": true, "details": "It works!"}
		status, answer := ask(t, "GET", url+"/v1/health/ping", nil, nil)
		want := map[string]any{"ok": true, "status": 200.0, "services": map[string]any{"koji": works, "quay": works, "greenwave": works}}
		if diff := cmp.Diff(any(want), answer); status != 200 || diff != "" {
			t.Error(status, diff)
		}
		o.set("GET /gw/api/v1.0/about", says(200, `[]`))
		o.set("/kojihub", says(500, ""))
		status, answer = ask(t, "GET", url+"/v2/health/ping", nil, nil)
		object := answer.(map[string]any)
		services := object["services"].(map[string]any)
		if status != 503 || object["ok"] != false || services["koji"].(map[string]any)["ok"] != false || services["greenwave"].(map[string]any)["ok"] != false || !cmp.Equal(services["quay"], any(works)) {
			t.Error(status, answer)
		}
	})
}

func TestAnotherApplicationRegistryIsPushedTo(t *testing.T) {
	o, address := startOutside(t)
	url := serveOMPS(t, images(t), func(s *Settings) {
		s.Target, s.CNR, s.Quay = targetCNR, address+"/", address+"/quay"
		s.Organizations = []OrganizationSettings{{Name: "open", Public: true, OAuthToken: sdk.Secret("oauth")}, {Name: "poor", Public: true}}
	})
	good := zipOf(t, operator("web"))
	const base = "/cnr/api/v1/packages"
	taken := func(w http.ResponseWriter, body string) {
		var push struct{ Blob, Release, Media_type string }
		if err := json.Unmarshal([]byte(body), &push); err != nil || push.Blob == "" || push.Release == "" || push.Media_type != "helm" {
			t.Errorf("pushed %s", body)
		}
		_, _ = io.WriteString(w, `{"status": "ok"}`)
	}
	forbidden := says(403, `{"error": {"code": "forbidden", "message": "Unauthorized access for: o/web", "details": {}}}`)
	t.Run("pushes", func(t *testing.T) {
		for _, c := range []struct {
			name           string
			releases, list func(http.ResponseWriter, string)
			push           func(http.ResponseWriter, string)
			status         int
			want, words    string
		}{
			{"the number after the highest", says(200, `[{"release": "2.5.1"}, {"release": "1.0.1-random"}]`), nil, taken, 200, "3.0.0", ""},
			{"the first", says(404, `{"error": {"message": "x"}}`), nil, taken, 200, "1.0.0", ""},
			{"hidden, and not listed", forbidden, says(200, `[{"name": "o/other", "releases": ["1.0.0"]}]`), taken, 200, "1.0.0", ""},
			{"hidden, and listed", forbidden, says(200, `[{"name": "o/web", "releases": ["4.0.0"]}]`), taken, 200, "5.0.0", ""},
			{"forbidden to list", forbidden, forbidden, taken, 403, "QuayAuthorizationError", "Unauthorized access"},
			{"a list that fails", says(500, ``), nil, taken, 500, "QuayPackageError", "Unknown error"},
			{"forbidden to push", says(200, `[]`), nil, forbidden, 403, "QuayAuthorizationError", "Failed to push manifest: Unauthorized access"},
			{"an image repository of the name", says(200, `[]`), nil, says(405, `{"error": "that is an image repository"}`), 500, "QuayCourierError", "that is an image repository"},
			{"no JSON", says(200, `[]`), nil, says(502, `<html>`), 500, "QuayCourierError", "Unknown error"},
		} {
			t.Run(c.name, func(t *testing.T) {
				o.set("GET "+base+"/o/web", c.releases)
				o.set("GET "+base+"?namespace=o", c.list)
				o.set("POST "+base+"/o/web", c.push)
				status, answer := upload(t, url+"/v2/o/zipfile", good)
				if c.status == 200 {
					if status != 200 || answer["version"] != c.want {
						t.Errorf("%d %v, want %s", status, answer, c.want)
					}
					return
				}
				wantFault(t, status, answer, c.status, c.want, c.words)
			})
		}
	})
	t.Run("deletes", func(t *testing.T) {
		auth := map[string]string{"Authorization": authorization}
		o.set("GET "+base+"/o/web", says(200, `[{"release": "2.0.0"}, {"release": "1.0.0-x"}]`))
		o.set("DELETE "+base+"/o/web/2.0.0/helm", says(200, `{"status": "deleted"}`))
		o.set("DELETE "+base+"/o/web/1.0.0-x/helm", forbidden)
		status, answer := ask(t, "DELETE", url+"/v2/o/web", auth, nil)
		wantFault(t, status, answer, 500, "QuayPackageError", "Unauthorized access")
		if got := fmt.Sprint(answer.(map[string]any)["deleted"]); got != "[2.0.0]" {
			t.Error("deleted so far:", got)
		}
		o.set("DELETE "+base+"/o/web/1.0.0-x/helm", says(404, `{"error": {"message": "it doesn't exist"}}`))
		status, answer = ask(t, "DELETE", url+"/v1/o/web/1.0.0-x", auth, nil)
		wantFault(t, status, answer, 404, "QuayPackageNotFound", "it doesn't exist")
	})
	t.Run("repositories are made public at each push", func(t *testing.T) {
		for _, organization := range []string{"open", "poor"} {
			o.set("POST "+base+"/"+organization+"/web", taken)
		}
		if status, answer := upload(t, url+"/v2/poor/zipfile", good); status != 200 {
			t.Error("without a token that is only logged:", status, answer)
		}
		status, answer := upload(t, url+"/v2/open/zipfile", good)
		wantFault(t, status, answer, 500, "QuayPackageError", "The release was pushed")
		o.set("POST /quay/api/v1/repository/open/web/changevisibility", func(w http.ResponseWriter, body string) {
			if body != `{"visibility":"public"}` {
				t.Errorf("asked %s", body)
			}
			_, _ = io.WriteString(w, `{"success": true}`)
		})
		if status, answer := upload(t, url+"/v2/open/zipfile", good); status != 200 {
			t.Error(status, answer)
		}
	})
	t.Run("it is no application registry itself", func(t *testing.T) {
		if status, answer := ask(t, "GET", url+"/cnr/version", nil, nil); status != 404 {
			t.Error(status, answer)
		}
	})
}

// TestTheTargetsAreOne pushes to one service through another.
func TestTheTargetsAreOne(t *testing.T) {
	kept := images(t)
	registry := serveOMPS(t, kept, nil)
	for name, change := range map[string]func(*Settings){
		"our client against our server": func(s *Settings) { s.Target, s.CNR = targetCNR, registry },
		"an image registry by address": func(s *Settings) {
			server := httptest.NewServer(kept)
			t.Cleanup(server.Close)
			s.Target, s.Registry, s.Prefix = targetOCI, server.URL, "app-registry"
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := serveOMPS(t, http.NotFoundHandler(), change)
			organization := strings.Fields(name)[0]
			for _, want := range []string{"1.0.0", "2.0.0"} {
				if status, answer := upload(t, url+"/v2/"+organization+"/zipfile", zipOf(t, operator("web"))); status != 200 || answer["version"] != want {
					t.Fatal(status, answer)
				}
			}
			if status, answer := ask(t, "DELETE", url+"/v2/"+organization+"/web/1.0.0", map[string]string{"Authorization": authorization}, nil); status != 200 {
				t.Fatal(status, answer)
			}
			_, list := ask(t, "GET", registry+"/cnr/api/v1/packages?namespace="+organization, nil, nil)
			if got := fmt.Sprint(list.([]any)[0].(map[string]any)["releases"]); got != "[2.0.0]" {
				t.Error(got)
			}
		})
	}
}

func TestSettingsAreJudged(t *testing.T) {
	for field, change := range map[string]func(*Settings){
		"target":                  func(s *Settings) { s.Target = "ftp" },
		"registry_url":            func(s *Settings) { s.Target = targetOCI },
		"cnr_url":                 func(s *Settings) { s.Target, s.CNR = targetCNR, "quay.io" },
		"parallel":                func(s *Settings) { s.Parallel = 0 },
		"max_body":                func(s *Settings) { s.MaxBody = -1 },
		"deadline":                func(s *Settings) { s.Deadline = -1 },
		"default_release_version": func(s *Settings) { s.DefaultRelease = "1.0" },
		"koji.hub_url":            func(s *Settings) { s.Koji = &KojiSettings{Root: "https://x"} },
		"greenwave.url":           func(s *Settings) { s.Greenwave = new(GreenwaveSettings) },
		"organization":            func(s *Settings) { s.Organizations = []OrganizationSettings{{Name: "a/b"}} },
	} {
		s := defaultSettings()
		change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), strings.Split(field, ".")[0]) {
			t.Errorf("%s: %v", field, err)
		}
	}
	s := defaultSettings()
	s.Organizations = []OrganizationSettings{{Name: "a", Annotations: []AnnotationSettings{{Name: "x", Value: "{surprise}"}}}}
	if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "{surprise}") {
		t.Error(err)
	}
}
