package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/sdktest/loopback"
)

// neighbours play Koji, Greenwave and Quay for a push service of a test. Koji
// answers with what is recorded in the plugin's testdata; Quay is the embedded
// application registry of another engine, except where a test says otherwise.
type neighbours struct {
	t       testing.TB
	url     string
	archive []byte
	// quay is what application registry calls are handed on to.
	quay http.Handler

	mu      sync.Mutex
	refusal map[string]canned
	gate    canned
	heard   []string
}

// canned is an answer.
type canned struct {
	status int
	body   string
}

func (c canned) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(c.status)
	_, _ = io.WriteString(w, c.body)
}

func newNeighbours(t testing.TB, archive []byte) *neighbours {
	t.Helper()
	n := &neighbours{t: t, archive: archive, refusal: make(map[string]canned)}
	server := httptest.NewServer(n)
	t.Cleanup(server.Close)
	n.url = server.URL
	return n
}

// refuse makes calls of Quay fail, by method and path; nothing undoes it.
func (n *neighbours) refuse(call string, status int, body string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refusal[call] = canned{status, body}
}

func (n *neighbours) decide(status int, body string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gate = canned{status, body}
}

// recorded is an answer of Koji's hub.
func (n *neighbours) recorded(name string) []byte {
	data, err := os.ReadFile(filepath.Join("../../../plugins/omps/testdata/koji", name+".xml"))
	if err != nil {
		n.t.Error(err)
	}
	return data
}

var askedFor = regexp.MustCompile(`<methodName>(\w+)</methodName>(?s:.*?<value><(?:string|int)>([^<]*)<)?`)

func (n *neighbours) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	n.heard = append(n.heard, r.Method+" "+r.URL.RequestURI())
	refusal, refused := n.refusal[r.Method+" "+r.URL.RequestURI()]
	gate := n.gate
	n.mu.Unlock()
	switch {
	case refused:
		refusal.write(w)
	case r.URL.Path == "/kojihub":
		body, _ := io.ReadAll(r.Body)
		asked := askedFor.FindSubmatch(body)
		if asked == nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "text/xml" || r.Header.Get("User-Agent") != "koji/1" || r.Header.Get("Authorization") != "" {
			n.t.Errorf("the hub was asked %v %s", r.Header, body)
			return
		}
		answers := map[string]string{
			"getAPIVersion ": "version", "getBuildLogs 42": "logs", "getBuildLogs 43": "logs-none",
			"getBuild logless-1-2": "build-old",
			"getBuild op-1-2":      "build", "getBuild old-1-2": "build-old", "getBuild plain-1-2": "build-plain", "getBuild bare-1-2": "build-no-extra",
			"getBuild none-1-2": "build-none", "getBuild op": "fault-nvr", "getBuild down-1-2": "fault", "getBuild elsewhere-1-2": "build-volume",
		}
		name := answers[fmt.Sprintf("%s %s", asked[1], asked[2])]
		if name == "" {
			n.t.Errorf("the hub was asked %s", body)
		}
		answer := n.recorded(name)
		if strings.HasPrefix(string(asked[2]), "logless") {
			answer = bytes.ReplaceAll(answer, []byte("<int>42<"), []byte("<int>43<"))
		}
		w.Header().Set("Content-Type", "text/xml")
		_, _ = w.Write(answer)
	case r.URL.Path == "/kojiroot/packages/op/1/2/files/operator-manifests/operator_manifests.zip",
		r.URL.Path == "/kojiroot/packages/op/1/2/data/logs/operator_manifests.zip":
		_, _ = w.Write(n.archive)
	case r.URL.Path == "/greenwave/api/v1.0/decision":
		gate.write(w)
	case r.URL.Path == "/greenwave/api/v1.0/about":
		canned{200, `{"version": "1.9"}`}.write(w)
	case strings.HasPrefix(r.URL.Path, "/cnr/") && n.quay != nil:
		n.quay.ServeHTTP(w, r)
	case strings.HasSuffix(r.URL.Path, "/changevisibility"):
		body, _ := io.ReadAll(r.Body)
		if got := r.Header.Get("Authorization") + " " + string(body); got != `Bearer the token {"visibility":"public"}` {
			n.t.Errorf("%s got %s", r.URL, got)
		}
		canned{200, `{"success": true}`}.write(w)
	default:
		http.NotFound(w, r)
	}
}

// tabled is the configuration of a push service for the tables: with a target,
// neighbours, and a registry of which somebody may write only some packages.
func tabled(t testing.TB, own string, n *neighbours, target string) string {
	t.Helper()
	return shippedWithRegistry(t, `    repository "app-registry/closed/**" {
      admins = ["owner"]
    }
    repository "**" {
      readers = ["*"]
      admins  = ["team+ci"]
    }
    robot "team+ci" { secret = "not so secret 1" }`) + pushBlock(own, fmt.Sprintf(`    %[1]s
    request_timeout = "1m"
    koji {
      hub_url  = "%[2]s/kojihub"
      root_url = "%[2]s/kojiroot/"
    }
    greenwave {
      url             = "%[2]s/greenwave/"
      context         = "omps_push"
      product_version = "cvp"
    }
    organization "shown" {
      public      = true
      oauth_token = "the token"
    }`, target, n.url))
}

// tableRow is one call of the push service, and what has to come of it.
type tableRow struct {
	// what is a method and a path. A path of a push is without what is before
	// zipfile or koji, which the two versions of the API have differently.
	what string
	// organization is "o" unless it matters, auth the team's.
	organization, auth string
	archive            []byte
	// name is the file's; field the form's.
	name, field string
	noForm      bool
	status      int
	id          string
	words       []string
	// extra is a member that has to be there, holding this text.
	extra map[string]string
	// only is a target that has such a row, "" for every one.
	only string
	// before is done first.
	before func(n *neighbours)
}

func basicAuth(user, password string) string {
	return "basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

const nobody = "-"

func changedFiles(files map[string]string, change map[string]string) map[string]string {
	files = maps.Clone(files)
	maps.Copy(files, change)
	return files
}

// pushTable is the catalogue of what a push service answers, row by row.
func pushTable(t testing.TB) map[string]tableRow {
	t.Helper()
	files := operatorFiles("web", "1.0.0")
	good := zipOf(t, files)
	packed := func(change map[string]string) []byte { return zipOf(t, changedFiles(files, change)) }
	forbidden := `{"error": {"code": "forbidden", "message": "Unauthorized access for: x/web", "details": {}}}`
	open := func(n *neighbours) { n.decide(200, `{"policies_satisfied": true}`) }
	rows := map[string]tableRow{
		"no header":                   {what: "POST zipfile", auth: nobody, archive: good, status: 403, id: "OMPSAuthorizationHeaderRequired"},
		"no header, no form":          {what: "POST zipfile", auth: nobody, noForm: true, status: 403, id: "OMPSAuthorizationHeaderRequired"},
		"no header, bad version":      {what: "POST zipfile/x", auth: nobody, archive: good, status: 403, id: "OMPSAuthorizationHeaderRequired"},
		"no header, Koji":             {what: "POST koji/none-1-2", auth: nobody, noForm: true, status: 403, id: "OMPSAuthorizationHeaderRequired"},
		"no header, delete":           {what: "DELETE /web", auth: nobody, noForm: true, status: 403, id: "OMPSAuthorizationHeaderRequired"},
		"no header, delete a release": {what: "DELETE /web/1.0.0", auth: nobody, noForm: true, status: 403, id: "OMPSAuthorizationHeaderRequired"},
		"an empty header":             {what: "POST zipfile", auth: " ", archive: good, status: 403, id: "OMPSAuthorizationHeaderRequired"},

		"no header, a wrong wish": {what: "POST zipfile?dry_run=perhaps", auth: nobody, archive: good, status: 403, id: "OMPSAuthorizationHeaderRequired"},
		"a dry run of no sense":   {what: "POST zipfile?dry_run=1", archive: good, status: 400, id: "BadRequest", words: []string{`"1"`, "true or false"}},
		"a dry run of no value":   {what: "POST zipfile/1.0.0?dry_run", archive: good, status: 400, id: "BadRequest", words: []string{"true or false"}},
		"a dry run of a build":    {what: "POST koji/op-1-2?dry_run=yes", noForm: true, status: 400, id: "BadRequest", words: []string{`"yes"`}},
		"a query that is none":    {what: "POST zipfile?dry_run=true;x", archive: good, status: 400, id: "BadRequest", words: []string{"query"}},

		"no form":               {what: "POST zipfile", noForm: true, status: 400, id: "OMPSExpectedFileError", words: []string{`No field "file"`}},
		"another field":         {what: "POST zipfile", field: "archive", archive: good, status: 400, id: "OMPSExpectedFileError", words: []string{`No field "file"`}},
		"no file name":          {what: "POST zipfile", name: "", field: "file", archive: good, status: 400, id: "OMPSExpectedFileError", words: []string{`No selected "file"`}},
		"another extension":     {what: "POST zipfile", name: "m.tar.gz", archive: good, status: 400, id: "OMPSUploadedFileError", words: []string{"file extension"}},
		"no extension":          {what: "POST zipfile", name: "zip", archive: []byte("no zip"), status: 400, id: "OMPSUploadedFileError", words: []string{"file extension"}},
		"no zip":                {what: "POST zipfile/x", archive: []byte("no zip"), status: 400, id: "OMPSUploadedFileError", words: []string{"not a zip file"}},
		"a body over the limit": {what: "POST zipfile", archive: make([]byte, 2<<20), status: 413, id: "RequestEntityTooLarge"},

		"no package":                 {what: "POST zipfile/x", archive: zipOf(t, nil), status: 400, id: "PackageValidationError", words: []string{"Could not find packageName"}, extra: map[string]string{"validation_info": "{}"}},
		"a package in a directory":   {what: "POST zipfile", archive: zipOf(t, map[string]string{"1.0.0/package.yaml": files["package.yaml"]}), status: 400, id: "PackageValidationError", words: []string{"Could not find packageName"}},
		"a broken file":              {what: "POST zipfile", archive: packed(map[string]string{"not_yaml.yaml": "a: b: c"}), status: 400, id: "PackageValidationError", words: []string{"Failed to process yaml file", "/not_yaml.yaml"}, extra: map[string]string{"validation_info": "{}"}},
		"several documents":          {what: "POST zipfile", archive: packed(map[string]string{"a.yml": "a: b\n---\nc: d\n"}), status: 400, id: "PackageValidationError", words: []string{"Failed to process yaml file", "/a.yml"}},
		"an empty file":              {what: "POST zipfile", archive: packed(map[string]string{"a.yaml": ""}), status: 400, id: "PackageValidationError", words: []string{"/a.yaml"}},
		"broken after the package":   {what: "POST zipfile", archive: packed(map[string]string{"z.yaml": "a: b: c"}), status: 400, id: "PackageValidationError", words: []string{"Failed to push manifest: "}, extra: map[string]string{"validation_info": "{}"}},
		"broken below":               {what: "POST zipfile", archive: packed(map[string]string{"1.0.0/z.yaml": "a: b: c"}), status: 400, id: "PackageValidationError", words: []string{"Failed to push manifest: "}},
		"no CSV":                     {what: "POST zipfile", archive: zipOf(t, map[string]string{"package.yaml": files["package.yaml"]}), status: 400, id: "PackageValidationError", words: []string{"Failed to push manifest: ", "no valid CSV file is found"}, extra: map[string]string{"validation_info": "{}"}},
		"two packages":               {what: "POST zipfile", archive: packed(map[string]string{"q.yaml": files["package.yaml"]}), status: 400, id: "PackageValidationError", words: []string{"Only 1 package"}, extra: map[string]string{"validation_info": "{}"}},
		"a CSV without installModes": {what: "POST zipfile", archive: packed(map[string]string{"1.0.0/csv.yaml": strings.Replace(files["1.0.0/csv.yaml"], "  installModes: []\n", "", 1)}), status: 400, id: "PackageValidationError", words: []string{"Failed to push manifest: ", "bundle is invalid"}, extra: map[string]string{"validation_info": "installModes"}},
		"no channels":                {what: "POST zipfile", archive: packed(map[string]string{"package.yaml": "packageName: web\nchannels: null\n"}), status: 400, id: "PackageValidationError", words: []string{"bundle is invalid"}, extra: map[string]string{"validation_info": "channels"}},

		"an unknown path":        {what: "GET ///v3/about", noForm: true, auth: nobody, status: 404, id: "NotFound"},
		"a slash at the end":     {what: "GET //about/", noForm: true, auth: nobody, status: 404, id: "NotFound"},
		"a slash after a push":   {what: "POST zipfile/", archive: good, status: 404, id: "NotFound"},
		"too many parts":         {what: "POST zipfile/1.0.0/x", archive: good, status: 404, id: "NotFound"},
		"Koji without an NVR":    {what: "POST koji", noForm: true, status: 405, id: "MethodNotAllowed"},
		"a wrong method":         {what: "GET zipfile", noForm: true, auth: nobody, status: 405, id: "MethodNotAllowed"},
		"a wrong method, about":  {what: "DELETE //about", noForm: true, status: 405, id: "MethodNotAllowed"},
		"a wrong method, health": {what: "POST //health/ping", noForm: true, auth: nobody, status: 405, id: "MethodNotAllowed"},
		"a package's own path":   {what: "PUT /web", noForm: true, status: 405, id: "MethodNotAllowed"},

		"an unknown package":             {what: "DELETE /none", noForm: true, status: 404, id: "QuayPackageNotFound", words: []string{"not found"}},
		"an unknown package's release":   {what: "DELETE /none/1.0.0", noForm: true, status: 404, id: "QuayPackageNotFound", words: []string{"doesn't exist"}},
		"a release that is no version":   {what: "DELETE /none/latest", noForm: true, status: 404, id: "QuayPackageNotFound", words: []string{"doesn't exist"}},
		"a package called zipfile":       {what: "DELETE /zipfile", noForm: true, status: 404, id: "QuayPackageNotFound", words: []string{"not found"}},
		"a release of one called koji":   {what: "DELETE /koji/x", noForm: true, status: 404, id: "QuayPackageNotFound", words: []string{"doesn't exist"}},
		"a push with a wrong password":   {what: "POST zipfile", auth: basicAuth("team+ci", "wrong"), archive: good, status: 403, id: "QuayAuthorizationError", words: []string{"Unauthorized access"}, extra: map[string]string{"quay_response": `"code":"forbidden"`}},
		"a push to others' packages":     {what: "POST zipfile/1.0.0", organization: "closed", archive: good, status: 403, id: "QuayAuthorizationError", words: []string{"Failed to push manifest: ", "Unauthorized access"}, extra: map[string]string{"quay_response": `"scopes"`}},
		"a push with no password at all": {what: "POST zipfile/1.0.0", auth: "nonsense", archive: good, status: 403, id: "QuayAuthorizationError", words: []string{"Unauthorized access"}},
		"others' release is deleted":     {what: "DELETE /web/1.0.0", organization: "closed", noForm: true, status: 500, id: "QuayPackageError", words: []string{"Unauthorized access"}},
		"a name that no repository has":  {what: "POST zipfile", archive: zipOf(t, operatorFiles("Web", "1.0.0")), status: 500, id: "QuayCourierError", words: []string{"Failed to push manifest: "}, extra: map[string]string{"quay_response": `"code":"invalid-usage"`}},
		"Koji, a version that is none":   {what: "POST koji/op-1-2/x", noForm: true, status: 400, id: "OMPSInvalidVersionFormat", words: []string{"x"}, before: open},

		"an unknown NVR":             {what: "POST koji/none-1-2", noForm: true, status: 404, id: "KojiNVRBuildNotFound", words: []string{"NVR not found"}},
		"no NVR":                     {what: "POST koji/op", noForm: true, status: 404, id: "KojiNVRBuildNotFound", words: []string{"NVR not found"}},
		"no operator":                {what: "POST koji/plain-1-2", noForm: true, status: 400, id: "KojiNotAnOperatorImage", words: []string{"Not an operator image"}},
		"a build without extra":      {what: "POST koji/bare-1-2", noForm: true, status: 400, id: "KojiNotAnOperatorImage", words: []string{"Not an operator image"}},
		"a fault of the hub":         {what: "POST koji/down-1-2", noForm: true, status: 500, id: "KojiError"},
		"an archive that is gone":    {what: "POST koji/elsewhere-1-2", noForm: true, status: 500, id: "KojiError", words: []string{"404"}},
		"an archive among no logs":   {what: "POST koji/logless-1-2", noForm: true, status: 500, id: "KojiManifestsArchiveNotFound", words: []string{"operator_manifests.zip", "logless-1-2"}},
		"a gate that says no":        {what: "POST koji/op-1-2/x", noForm: true, status: 400, id: "GreenwaveUnsatisfiedError", extra: map[string]string{"greenwave_response": `"summary":"no"`}, before: func(n *neighbours) { n.decide(200, `{"policies_satisfied": false, "summary": "no"}`) }},
		"a gate that says null":      {what: "POST koji/op-1-2", noForm: true, status: 400, id: "GreenwaveUnsatisfiedError", before: func(n *neighbours) { n.decide(200, `{"policies_satisfied": null}`) }},
		"a gate that says little":    {what: "POST koji/op-1-2", noForm: true, status: 500, id: "GreenwaveError", extra: map[string]string{"greenwave_response": `"other":1`}, before: func(n *neighbours) { n.decide(200, `{"other": 1}`) }},
		"a gate that is down":        {what: "POST koji/op-1-2", noForm: true, status: 500, id: "GreenwaveError", extra: map[string]string{"greenwave_response": "{}"}, before: func(n *neighbours) { n.decide(503, `<html>`) }},
		"a gate with a message":      {what: "POST koji/op-1-2", noForm: true, status: 500, id: "GreenwaveError", extra: map[string]string{"greenwave_response": `"message":"m"`}, before: func(n *neighbours) { n.decide(404, `{"message": "m"}`) }},
		"Koji, a version of no form": {what: "POST koji/old-1-2/1.2", noForm: true, status: 400, id: "OMPSInvalidVersionFormat", words: []string{"1.2"}, before: open},

		"forbidden to list": {what: "POST zipfile", organization: "unlisted", archive: good, status: 403, id: "QuayAuthorizationError", words: []string{"Unauthorized access"}, extra: map[string]string{"quay_response": `"code": "forbidden"`}, only: "cnr", before: func(n *neighbours) {
			n.refuse("GET /cnr/api/v1/packages/unlisted/web", 403, forbidden)
			n.refuse("GET /cnr/api/v1/packages?namespace=unlisted", 403, forbidden)
		}},
		"a list that fails": {what: "DELETE /web", organization: "broken", noForm: true, status: 500, id: "QuayPackageError", only: "cnr", before: func(n *neighbours) {
			n.refuse("GET /cnr/api/v1/packages/broken/web", 500, `<html>`)
		}},
		"a list that is no JSON": {what: "POST zipfile", organization: "garbled", archive: good, status: 500, id: "QuayPackageError", only: "cnr", before: func(n *neighbours) {
			n.refuse("GET /cnr/api/v1/packages/garbled/web", 200, `<html>`)
		}},
		"an image repository of Quay": {what: "POST zipfile/1.0.0", organization: "images", archive: good, status: 500, id: "QuayCourierError", words: []string{"Failed to push manifest: It is an image repository"}, extra: map[string]string{"quay_response": `"error"`}, only: "cnr", before: func(n *neighbours) {
			n.refuse("POST /cnr/api/v1/packages/images/web", 405, `{"error": "It is an image repository"}`)
		}},
		"a push that Quay breaks at": {what: "POST zipfile/1.0.0", organization: "worse", archive: good, status: 500, id: "QuayCourierError", words: []string{"Failed to push manifest: "}, extra: map[string]string{"quay_response": "{}"}, only: "cnr", before: func(n *neighbours) {
			n.refuse("POST /cnr/api/v1/packages/worse/web", 502, `<html>`)
		}},
		"publishing that fails": {what: "POST zipfile", organization: "shown", archive: good, status: 500, id: "QuayPackageError", words: []string{"was pushed"}, only: "cnr", before: func(n *neighbours) {
			n.refuse("POST /api/v1/repository/shown/web/changevisibility", 403, `{"error_message": "no"}`)
		}},
	}
	for _, version := range []string{"1.2", "1.2.3.4", "01.2.3", "v1.0.0", "1.0.0-1", "1.1.1a0", "+1.0.0", "-1.0.0", "1.0.0%0A", "%201.0.0", "1..0"} {
		decoded, err := url.PathUnescape(version)
		if err != nil {
			t.Fatal(err)
		}
		rows[fmt.Sprintf("the version %q", decoded)] = tableRow{what: "POST zipfile/" + version, archive: good, status: 400, id: "OMPSInvalidVersionFormat", words: []string{strings.TrimSpace(decoded)}}
	}
	return rows
}

// extras are the members that the envelope of an ID has besides its own.
var extras = map[string]string{
	"PackageValidationError": "validation_info", "QuayAuthorizationError": "quay_response", "QuayCourierError": "quay_response",
	"GreenwaveError": "greenwave_response", "GreenwaveUnsatisfiedError": "greenwave_response",
}

// path is where a row's call goes, in a version of the API.
func (row *tableRow) path(version string) string {
	organization := row.organization
	if organization == "" {
		organization = "o"
	}
	_, what, _ := strings.Cut(row.what, " ")
	switch {
	case strings.HasPrefix(what, "///"):
		return what[2:]
	case strings.HasPrefix(what, "//"):
		return "/" + version + what[1:]
	case strings.HasPrefix(what, "/"):
		return "/" + version + "/" + organization + what
	case version == "v1":
		repository := "web"
		if strings.Contains(row.what, "zipfile") && row.id == "QuayCourierError" && strings.Contains(row.extra["quay_response"], "invalid-usage") {
			repository = "Web"
		}
		return "/v1/" + organization + "/" + repository + "/" + what
	}
	return "/v2/" + organization + "/" + what
}

// send makes a row's call.
func (row *tableRow) send(p *pusher, version string) (int, map[string]any) {
	p.t.Helper()
	method, _, _ := strings.Cut(row.what, " ")
	var kind string
	var body []byte
	if !row.noForm {
		name, field := row.name, row.field
		if name == "" && field == "" {
			name = "manifests.zip"
		}
		if field == "" {
			field = "file"
		}
		kind, body = formOf(p.t, field, name, row.archive)
	}
	status, data := p.do(method, row.path(version), kind, body)
	var answer map[string]any
	if err := json.Unmarshal(data, &answer); err != nil {
		p.t.Fatalf("%s: %d %.300s", row.path(version), status, data)
	}
	return status, answer
}

// wantFault compares an answer with a row.
func (row *tableRow) wantFault(t testing.TB, status int, answer map[string]any) {
	t.Helper()
	message, _ := answer["message"].(string)
	if status != row.status || answer["status"] != float64(row.status) || answer["error"] != row.id || message == "" {
		t.Fatalf("got %d %v, want %d %s", status, answer, row.status, row.id)
	}
	for _, words := range row.words {
		if !strings.Contains(message, words) {
			t.Errorf("the message %q does not have %q", message, words)
		}
	}
	members := map[string]bool{"status": true, "error": true, "message": true, extras[row.id]: true}
	for name := range answer {
		if !members[name] {
			t.Errorf("there is a member %s: %v", name, answer[name])
		}
	}
	if extra := extras[row.id]; extra != "" {
		if _, isObject := answer[extra].(map[string]any); !isObject {
			t.Errorf("%s is %v", extra, answer[extra])
		}
	}
	for name, text := range row.extra {
		encoded, err := json.Marshal(answer[name])
		if err != nil || !strings.Contains(string(encoded), strings.ReplaceAll(text, `": "`, `":"`)) || text == "{}" && string(encoded) != "{}" {
			t.Errorf("%s is %s, want %s", name, encoded, text)
		}
	}
}

func TestEveryRowOfThePushTablesHolds(t *testing.T) {
	t.Parallel()
	rows := pushTable(t)
	archive := zipOf(t, operatorFiles("web", "1.0.0"))
	n := newNeighbours(t, archive)
	embedded := loopback.Address(t)
	first := startWith(t, tabled(t, embedded, n, `target = "embedded"`), t.TempDir())
	quay, err := url.Parse("http://" + embedded)
	if err != nil {
		t.Fatal(err)
	}
	n.quay = httputil.NewSingleHostReverseProxy(quay)
	own := loopback.Address(t)
	second := startWith(t, tabled(t, own, n, fmt.Sprintf("target = \"cnr\"\n    cnr_url = %q", n.url)), t.TempDir())
	team := basicAuth("team+ci", "not so secret 1")
	shop := &pusher{t: t, base: "http://" + embedded, client: http.DefaultClient, auth: team}
	for _, at := range []struct{ target, way, base string }{
		{"embedded", "mount", first.url + "/omps"}, {"embedded", "listener", "http://" + embedded},
		{"cnr", "mount", second.url + "/omps"}, {"cnr", "listener", "http://" + own},
	} {
		for _, version := range []string{"v1", "v2"} {
			t.Run(fmt.Sprintf("%s by its %s, %s", at.target, at.way, version), func(t *testing.T) {
				for name, row := range rows {
					if row.only != "" && row.only != at.target {
						continue
					}
					t.Run(name, func(t *testing.T) {
						if row.before != nil {
							row.before(n)
						}
						p := &pusher{t: t, base: at.base, client: http.DefaultClient, auth: team}
						switch row.auth {
						case "":
						case nobody:
							p.auth = ""
						default:
							p.auth = row.auth
						}
						status, answer := row.send(p, version)
						row.wantFault(t, status, answer)
					})
				}
				n.decide(200, `{"policies_satisfied": true}`)
				testWhatSucceeds(t, &pusher{t: t, base: at.base, client: http.DefaultClient, auth: team}, shop, archive, version, at.target+"-"+at.way+"-"+version)
			})
		}
	}
	t.Run("nothing was kept of what was refused", func(t *testing.T) {
		for _, organization := range []string{"o", "closed", "unlisted", "images", "worse"} {
			if _, data := shop.do(http.MethodGet, "/cnr/api/v1/packages?namespace="+organization, "", nil); string(data) != "[]" {
				t.Errorf("%s has %s", organization, data)
			}
		}
	})
	t.Run("no password is in a log", func(t *testing.T) {
		for _, p := range []*process{first, second} {
			for _, secret := range []string{"not so secret 1", strings.Fields(team)[1], "the token"} {
				if strings.Contains(p.stderr.String(), secret) {
					t.Errorf("%s is", secret)
				}
			}
		}
	})
}

// testWhatSucceeds goes through a package's life, by the API's rules for
// versions and deletes.
func testWhatSucceeds(t *testing.T, p, shop *pusher, archive []byte, version, organization string) {
	push := func(rest string) (int, map[string]any) {
		row := tableRow{what: "POST " + rest, organization: organization, archive: archive, noForm: strings.HasPrefix(rest, "koji")}
		return row.send(p, version)
	}
	for i, c := range []struct {
		rest, want, nvr string
	}{
		{"zipfile", "1.0.0", ""}, {"zipfile", "2.0.0", ""}, {"zipfile/2.5.1", "2.5.1", ""}, {"zipfile", "3.0.0", ""}, {"zipfile/0.0.0", "0.0.0", ""},
		{"koji/op-1-2", "4.0.0", "op-1-2"}, {"koji/old-1-2/6.0.2", "6.0.2", "old-1-2"},
	} {
		status, answer := push(c.rest)
		delete(answer, "validation_info")
		want := map[string]any{"organization": organization, "repo": "web", "version": c.want, "extracted_files": []any{"1.0.0/csv.yaml", "package.yaml"}}
		if c.nvr != "" {
			want["nvr"] = c.nvr
		}
		if diff := cmp.Diff(want, answer); status != 200 || diff != "" {
			t.Fatalf("push %d: %d %s", i, status, diff)
		}
	}
	t.Run("a release stays as it is", func(t *testing.T) {
		status, answer := push("zipfile/2.5.1")
		row := tableRow{status: 500, id: "QuayCourierError", words: []string{"Failed to push manifest: "}, extra: map[string]string{"quay_response": `"code":"package-exists"`}}
		row.wantFault(t, status, answer)
	})
	t.Run("others' versions are passed over", func(t *testing.T) {
		blob := base64.StdEncoding.EncodeToString(gzipped(t, "x"))
		for _, release := range []string{"9.0.1-random", "8.0.0+b"} {
			body := fmt.Appendf(nil, `{"blob": %q, "release": %q, "media_type": "helm"}`, blob, release)
			if status, data := shop.do(http.MethodPost, "/cnr/api/v1/packages/"+organization+"/web", "application/json", body); status != 200 {
				t.Fatalf("%d %s", status, data)
			}
		}
		if status, answer := p.json(http.MethodDelete, "/"+version+"/"+organization+"/web/6.0.2"); status != 200 || fmt.Sprint(answer["deleted"]) != "[6.0.2]" || answer["repo"] != "web" || answer["organization"] != organization {
			t.Fatalf("%d %v", status, answer)
		}
		if status, answer := push("zipfile"); status != 200 || answer["version"] != "5.0.0" {
			t.Fatalf("%d %v", status, answer)
		}
	})
	t.Run("all are deleted in the list's order", func(t *testing.T) {
		status, answer := p.json(http.MethodDelete, "/"+version+"/"+organization+"/web")
		want := map[string]any{"organization": organization, "repo": "web", "deleted": []any{"9.0.1-random", "8.0.0+b", "5.0.0", "4.0.0", "3.0.0", "2.5.1", "2.0.0", "1.0.0", "0.0.0"}}
		if diff := cmp.Diff(want, answer); status != 200 || diff != "" {
			t.Fatal(status, diff)
		}
		if status, answer := push("zipfile"); status != 200 || answer["version"] != "1.0.0" {
			t.Fatalf("%d %v", status, answer)
		}
	})
	t.Run("about and health need nobody's name", func(t *testing.T) {
		anon := &pusher{t: t, base: p.base, client: p.client}
		status, about := anon.json(http.MethodGet, "/"+version+"/about")
		if v, ok := about["version"].(string); status != 200 || !ok || v == "" || about["operatorcourier"] != "2.1.10" || len(about) != 2 {
			t.Errorf("%d %v", status, about)
		}
		works := map[string]any{"ok": true, "details": "It works!"}
		status, health := anon.json(http.MethodGet, "/"+version+"/health/ping")
		want := map[string]any{"ok": true, "status": 200.0, "services": map[string]any{"koji": works, "quay": works, "greenwave": works}}
		if diff := cmp.Diff(want, health); status != 200 || diff != "" {
			t.Error(status, diff)
		}
	})
}
