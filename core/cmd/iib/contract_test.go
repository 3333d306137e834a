package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk/sdktest/loopback"
)

// The rules of the API contract are tables in testdata/contract, which this
// file reads. Unindented lines set the scene:
//
//	POST /builds/add     the method and the path below /api/v1
//	as USER              who calls; "nobody" for nobody
//	type MEDIA           the Content-Type; "none" for none
//	base {...}           a body that the cases below change
//	let NAME VALUE       a value for $NAME
//	for A B|X            what follows, up to the next "for", is run for $each A
//	                     and B, with $with as X
//	anything else        the rule that the cases below stand for
//
// An indented line is a case: the status, names that the error must contain,
// separated by commas, the body, and behind "->" what must be in the answer. A
// body of an object is laid over the base; "-name" takes a key away. !"..." and
// !`...` are bodies as they stand. Behind "=>" is a name for the new build's ID.
// $NAME+{...} is a value with changes. In answers "-name" is a key that must not
// be there, and {"=": X} is exactly X.
type contract struct {
	t *testing.T
	p *process
	// check looks at every answer, if it is not nil.
	check func(t *testing.T, call contractCall)

	vars                           map[string]string
	method, path, user, base, rule string
	media                          string
	cases                          int
}

// contractCall is one call of the API and its answer.
type contractCall struct {
	method, path, user, body string
	status                   int
	header                   http.Header
	answer                   []byte
}

const (
	jane    = "jane@DOMAIN.LOCAL"
	worker  = "worker@DOMAIN.LOCAL"
	root    = "root@DOMAIN.LOCAL"
	patient = "patient@DOMAIN.LOCAL"
)

// identityHeader makes the tests' callers.
const identityHeader = "X-Remote-User"

const contractConfig = `
identity "header" {
  header = "X-Remote-User"
  from   = ["127.0.0.0/8"]
}
access {
  workers    = ["worker@DOMAIN.LOCAL"]
  privileged = ["root@DOMAIN.LOCAL"]
}
`

// contractServer is a server where callers have to log in.
func contractServer(t *testing.T) *process {
	t.Helper()
	return startWith(t, shippedWithout(t, `identity "none" {}`)+contractConfig, t.TempDir())
}

// runContract runs one file of the table.
func (c *contract) runContract(name string) {
	text, err := os.ReadFile(filepath.Join("testdata/contract", name))
	if err != nil {
		c.t.Fatal(err)
	}
	parent := c.t
	defer func() { c.t = parent }()
	parent.Run(strings.TrimSuffix(name, ".txt"), func(t *testing.T) {
		c.t = t
		c.user, c.media = "", "application/json"
		var block []string
		loops := []string{"builds"}
		run := func() {
			for _, loop := range loops {
				each, with, _ := strings.Cut(loop, "|")
				if c.vars == nil {
					c.vars = make(map[string]string)
				}
				c.vars["each"], c.vars["with"] = c.expand(each), c.expand(with)
				for _, line := range block {
					c.line(line)
				}
			}
			block = nil
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimRight(line, "\n")
			if rest, ok := strings.CutPrefix(line, "for "); ok {
				run()
				loops = strings.Fields(rest)
				continue
			}
			if line != "" && !strings.HasPrefix(line, "#") {
				block = append(block, line)
			}
		}
		run()
	})
}

var methodLine = regexp.MustCompile(`^(GET|POST|PUT|PATCH|DELETE)( /\S*)?$`)

// line does what one line says.
func (c *contract) line(line string) {
	if strings.HasPrefix(line, "  ") {
		c.runCase(strings.TrimSpace(line))
		return
	}
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case methodLine.MatchString(line):
		c.method, c.path, c.base = word, c.expand(rest), "{}"
	case word == "as":
		c.user = rest
	case word == "type":
		c.media = rest
	case word == "base":
		c.base = c.expand(rest)
	case word == "let":
		name, value, _ := strings.Cut(rest, " ")
		c.vars[name] = value
	default:
		c.rule = line
	}
}

// expand fills in names, and applies the changes behind them.
func (c *contract) expand(text string) string {
	var out strings.Builder
	for text != "" {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			break
		}
		end := strings.IndexFunc(after, func(r rune) bool { return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') })
		if end < 0 {
			end = len(after)
		}
		value, ok := c.vars[after[:end]]
		if after[:end] == "body" {
			value, ok = strings.TrimSuffix(strings.TrimPrefix(c.base, "{"), "}"), true
		}
		if !ok {
			c.t.Fatalf("%s: nothing is called $%s", c.rule, after[:end])
		}
		text = after[end:]
		if strings.HasPrefix(text, "+{") {
			changes := firstJSON(c.t, text[1:])
			value, text = overlay(c.t, value, c.expand(changes)), text[1+len(changes):]
		}
		out.WriteString(value)
	}
	return out.String()
}

// firstJSON returns the JSON value that a text begins with.
func firstJSON(t *testing.T, text string) string {
	t.Helper()
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{' || b == '[':
			depth++
		case b == '}' || b == ']':
			if depth--; depth == 0 {
				return text[:i+1]
			}
		}
	}
	t.Fatalf("no JSON value: %s", text)
	return ""
}

// overlay lays an object over another one.
func overlay(t *testing.T, base, changes string) string {
	t.Helper()
	into, over := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for text, m := range map[string]*map[string]json.RawMessage{base: &into, changes: &over} {
		if err := json.Unmarshal([]byte(text), m); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	if base == changes {
		return base
	}
	for name, value := range over {
		if gone, ok := strings.CutPrefix(name, "-"); ok {
			delete(into, gone)
			continue
		}
		into[name] = value
	}
	data, err := json.Marshal(into)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var caseLine = regexp.MustCompile("^([0-9]{3})(?: ([^ {\\[!?/\"-][^ ]*))?(?: ([{!?].*?))?(?: -> (.*?))?(?: => ([a-zA-Z]+))?$")

func (c *contract) runCase(line string) {
	c.cases++
	parts := caseLine.FindStringSubmatch(line)
	if parts == nil {
		c.t.Fatalf("no case: %s", line)
	}
	status, _ := strconv.Atoi(parts[1])
	call := contractCall{method: c.method, path: "/api/v1" + c.path, user: c.user}
	switch given := parts[3]; {
	case strings.HasPrefix(given, "{"):
		call.body = overlay(c.t, c.base, c.expand(given))
	case strings.HasPrefix(given, "!"):
		// Variables go in as they stand, also between quotes.
		text, err := strconv.Unquote(given[1:])
		if err != nil {
			c.t.Fatalf("%s: %v", given, err)
		}
		call.body = c.expand(text)
	case strings.HasPrefix(given, "?"):
		call.path += given
	}
	headers := map[string]string{"Content-Type": c.media}
	if c.media == "none" || c.method == http.MethodGet || c.method == http.MethodDelete {
		headers["Content-Type"] = ""
	}
	if c.user != "" && c.user != "nobody" {
		headers[identityHeader] = c.user
	}
	call.status, call.header, call.answer = c.p.do(call.method, call.path, call.body, headers)
	c.t.Run(fmt.Sprintf("%s: %s %s %s", c.rule, c.method, c.path, parts[3]), func(t *testing.T) {
		if call.status != status {
			t.Fatalf("%s %s as %q with %s: got %d, want %d: %s", call.method, call.path, c.user, call.body, call.status, status, call.answer)
		}
		wantSound(t, call)
		for name := range strings.SplitSeq(c.expand(parts[2]), ",") {
			if !strings.Contains(errorOf(call.answer), name) {
				t.Errorf("the error %q does not name %q", errorOf(call.answer), name)
			}
		}
		if parts[4] != "" {
			var want, got any
			if err := json.Unmarshal([]byte(c.expand(parts[4])), &want); err != nil {
				t.Fatalf("%s: %v", parts[4], err)
			}
			if err := json.Unmarshal(call.answer, &got); err != nil {
				t.Fatalf("%s: %v", call.answer, err)
			}
			if fault := within(got, want, ""); fault != "" {
				t.Errorf("%s\n%s", fault, call.answer)
			}
		}
		if c.check != nil {
			c.check(t, call)
		}
	})
	if parts[5] != "" {
		var build struct{ ID int64 }
		if err := json.Unmarshal(call.answer, &build); err != nil || build.ID == 0 {
			c.t.Fatalf("no build: %s", call.answer)
		}
		c.vars[parts[5]] = strconv.FormatInt(build.ID, 10)
	}
}

func errorOf(answer []byte) string {
	var fault struct{ Error string }
	_ = json.Unmarshal(answer, &fault)
	return fault.Error
}

// wantSound checks what holds of every answer (sections 0, 3 and 9).
func wantSound(t *testing.T, call contractCall) {
	t.Helper()
	if got := call.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	if call.header.Get("X-Request-Id") == "" {
		t.Error("the answer has no request ID")
	}
	if bytes.Contains(call.answer, []byte("SECRET")) {
		t.Errorf("the answer has a secret: %s", call.answer)
	}
	for _, name := range []string{"Location", "Access-Control-Allow-Origin"} {
		if call.header.Get(name) != "" {
			t.Errorf("the answer has a header %s", name)
		}
	}
	if call.status >= 400 && errorOf(call.answer) == "" {
		t.Errorf("the answer has no error text: %s", call.answer)
	}
	if call.status == http.StatusMethodNotAllowed && call.header.Get("Allow") == "" {
		t.Error("the answer has no Allow header")
	}
	if call.status == http.StatusNotFound && strings.Contains(errorOf(call.answer), "9999") {
		t.Errorf("a 404 repeats the ID: %s", call.answer)
	}
	if call.status >= 400 {
		return
	}
	var answer any
	if err := json.Unmarshal(call.answer, &answer); err != nil {
		t.Fatalf("the answer is no JSON: %s", call.answer)
	}
	builds, _ := answer.([]any)
	if object, ok := answer.(map[string]any); ok {
		items, list := object["items"].([]any)
		if builds = items; !list {
			builds = []any{object}
		}
	}
	for _, build := range builds {
		if build, ok := build.(map[string]any); ok && build["request_type"] != nil {
			wantBuild(t, build)
		}
	}
}

// within tells what a value lacks of another one, or "".
func within(got, want any, place string) string {
	switch want := want.(type) {
	case map[string]any:
		if exactly, ok := want["="]; ok {
			if !reflect.DeepEqual(got, exactly) {
				return fmt.Sprintf("%s is %v, want exactly %v", place, got, exactly)
			}
			return ""
		}
		got, ok := got.(map[string]any)
		if !ok {
			return place + " is no object"
		}
		if len(want) == 0 && len(got) > 0 && place != "" && !strings.HasSuffix(place, "]") {
			return fmt.Sprintf("%s is %v, and should be empty", place, got)
		}
		for name, value := range want {
			if gone, ok := strings.CutPrefix(name, "-"); ok {
				if _, there := got[gone]; there {
					return fmt.Sprintf("%s has %s", place, gone)
				}
				continue
			}
			if _, there := got[name]; !there {
				return fmt.Sprintf("%s has no %s", place, name)
			}
			if fault := within(got[name], value, place+"."+name); fault != "" {
				return fault
			}
		}
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			return fmt.Sprintf("%s has %d entries, want %d", place, len(got), len(want))
		}
		for i := range want {
			if fault := within(got[i], want[i], fmt.Sprintf("%s[%d]", place, i)); fault != "" {
				return fault
			}
		}
	default:
		if !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("%s is %v, want %v", place, got, want)
		}
	}
	return ""
}

// contractKeys are the complete key sets of section 3.7, besides the common ones.
var contractKeys = map[string][]string{
	"add": {"binary_image", "binary_image_resolved", "build_tags", "bundle_mapping", "bundles", "check_related_images", "deprecation_list",
		"distribution_scope", "from_index", "from_index_resolved", "graph_update_mode", "index_image", "index_image_resolved",
		"internal_index_image_copy", "internal_index_image_copy_resolved", "omps_operator_version", "organization", "removed_operators"},
	"rm": {"binary_image", "binary_image_resolved", "build_tags", "bundle_mapping", "bundles", "deprecation_list",
		"distribution_scope", "from_index", "from_index_resolved", "index_image", "index_image_resolved",
		"internal_index_image_copy", "internal_index_image_copy_resolved", "organization", "removed_operators"},
	"regenerate-bundle": {"bundle_image", "bundle_replacements", "from_bundle_image", "from_bundle_image_resolved", "organization", "related_bundles"},
	"merge-index-image": {"binary_image", "binary_image_resolved", "build_tags", "deprecation_list", "distribution_scope", "graph_update_mode",
		"ignore_bundle_ocp_version", "index_image", "source_from_index", "source_from_index_resolved", "target_index", "target_index_resolved"},
	"create-empty-index": {"binary_image", "binary_image_resolved", "distribution_scope", "from_index", "from_index_resolved", "index_image",
		"index_image_resolved", "labels"},
	"recursive-related-bundles": {"nested_bundles", "organization", "parent_bundle_image", "parent_bundle_image_resolved"},
	"fbc-operations": {"binary_image", "binary_image_resolved", "build_tags", "distribution_scope", "fbc_fragment", "fbc_fragment_resolved",
		"fbc_fragments", "fbc_fragments_resolved", "from_index", "from_index_resolved", "index_image", "index_image_resolved",
		"internal_index_image_copy", "internal_index_image_copy_resolved"},
	"add-deprecations": {"binary_image", "binary_image_resolved", "build_tags", "deprecation_schema_url", "from_index", "from_index_resolved",
		"index_image", "index_image_resolved", "internal_index_image_copy", "internal_index_image_copy_resolved", "operator_package"},
}

var (
	commonKeys  = []string{"id", "request_type", "batch", "user", "arches", "state", "state_reason", "updated"}
	verboseKeys = []string{"batch_annotations", "state_history"}
	wireTime    = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)
)

// wantBuild checks a build's keys and what all builds have (section 3).
func wantBuild(t *testing.T, build map[string]any) {
	t.Helper()
	own, known := contractKeys[build["request_type"].(string)]
	if !known {
		return
	}
	allowed := slices.Concat(commonKeys, own)
	history, verbose := build["state_history"].([]any)
	if verbose {
		allowed = append(allowed, verboseKeys...)
	}
	for _, name := range allowed {
		if _, ok := build[name]; !ok {
			t.Errorf("the key %s is missing", name)
		}
	}
	for name := range build {
		if !slices.Contains(allowed, name) && !(verbose && name == "logs") {
			t.Errorf("the key %s must not be there", name)
		}
	}
	if !wireTime.MatchString(fmt.Sprint(build["updated"])) {
		t.Errorf("updated is %v", build["updated"])
	}
	arches, ok := build["arches"].([]any)
	if !ok || !slices.IsSortedFunc(arches, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }) {
		t.Errorf("arches are %v", build["arches"])
	}
	if !verbose {
		return
	}
	if len(history) == 0 {
		t.Fatal("the history is empty")
	}
	newest, _ := history[0].(map[string]any)
	for _, name := range []string{"state", "state_reason", "updated"} {
		if newest[name] != build[name] {
			t.Errorf("the newest entry of the history has %s %v, the build %v", name, newest[name], build[name])
		}
	}
	for i := 1; i < len(history); i++ {
		later, earlier := history[i-1].(map[string]any), history[i].(map[string]any)
		if later["updated"].(string) < earlier["updated"].(string) {
			t.Errorf("the history is not newest first: %v", history)
		}
	}
}

// hangingRegistry accepts connections and says nothing.
func hangingRegistry(t *testing.T) string {
	t.Helper()
	return loopback.Serve(t, func(*net.TCPConn) { <-t.Context().Done() })
}

// graphModes let some indexes have a graph mode (section 2.12).
func graphModes(config string) string {
	for _, plugin := range []string{"index-add", "index-merge"} {
		config = strings.Replace(config, `plugin "`+plugin+`" {`+"\n  kind = \"handler\"\n}", `plugin "`+plugin+`" {
  kind = "handler"
  config { graph_mode_indexes = ["q.invalid/listed", "localhost:1/ns/listed", "q.invalid/tagged:v1"] }
}`, 1)
	}
	return config
}

const patientQueue = `
queue "patient" {
  concurrency = 1
  attempts    = 100
}
user "patient@DOMAIN.LOCAL" { queue = "patient" }
`

// TestContract runs the tables against a server where callers have to log in,
// that has no default for binary_image, and that keeps files.
func TestContract(t *testing.T) {
	config := graphModes(shippedWithout(t, `identity "none" {}`)) + contractConfig + patientQueue + actor(t, t.TempDir(), "handler", "actor-scribe")
	p := startWith(t, config, t.TempDir())
	// Whatever patient submits from now on waits behind this, for hours.
	status, _, answer := p.do(http.MethodPost, "/api/v1/builds/lines", `{"lines":100000,"milliseconds":1000}`, map[string]string{identityHeader: patient})
	if status != http.StatusCreated {
		t.Fatalf("%d: %s", status, answer)
	}
	log, err := http.Get(p.url + "/api/v1/builds/1/logs?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(log.Body)
	for lines.Scan() && !strings.Contains(lines.Text(), "line 0") {
	}
	_ = log.Body.Close()
	if !strings.Contains(lines.Text(), "line 0") {
		t.Fatalf("the queue is not held: %d %s %v", log.StatusCode, lines.Text(), lines.Err())
	}
	d := readOpenAPI(t, p)
	c := &contract{t: t, p: p, check: d.check}
	for _, name := range []string{
		"first_checks.txt", "shared.txt", "add.txt", "rm.txt", "bundles.txt", "merge.txt", "others.txt", "batches.txt",
		"reading.txt", "patches.txt",
	} {
		c.runContract(name)
	}
	t.Run("1 HEAD and OPTIONS", c.methodsAndHeads)
	t.Run("4.1 links between pages", c.pages)
	t.Run("2.11 nothing is left of what is refused", c.nothingIsLeftOfRefused)
	t.Run("4.3 artifacts", func(t *testing.T) { c.artifacts(t, config) })
	t.Logf("%d cases", c.cases)
	if strings.Contains(p.stderr.String(), "SECRET") {
		t.Error("the log has a secret")
	}
}
