package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// openapi is the document that a server gives, to check its answers by.
type openapi struct {
	document map[string]any
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
	routes   map[string]*regexp.Regexp
	// answered are the operations and statuses that were checked.
	answered map[string]bool
}

const openapiBase = "iib:openapi.json"

// readOpenAPI gets the document from a server, and compiles all of it.
func readOpenAPI(t *testing.T, p *process) *openapi {
	t.Helper()
	status, header, data := p.do(http.MethodGet, "/api/v1/openapi.json", "", nil)
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s: %s", status, header.Get("Content-Type"), data)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	d := &openapi{document: document.(map[string]any), compiler: jsonschema.NewCompiler(),
		schemas: make(map[string]*jsonschema.Schema), routes: make(map[string]*regexp.Regexp), answered: make(map[string]bool)}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	if err := d.compiler.AddResource(openapiBase, document); err != nil {
		t.Fatal(err)
	}
	for path := range d.document["paths"].(map[string]any) {
		d.routes[path] = regexp.MustCompile("^" + regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$")
	}
	return d
}

// at returns what stands at a place of the document; references are followed.
func (d *openapi) at(parts ...string) (value any, place string) {
	value, place = any(d.document), "#"
	for _, part := range parts {
		object, ok := value.(map[string]any)
		if !ok {
			return nil, ""
		}
		if value, ok = object[part]; !ok {
			return nil, ""
		}
		place += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(part)
		for {
			object, ok := value.(map[string]any)
			target, isRef := object["$ref"].(string)
			if !ok || !isRef {
				break
			}
			value, place = d.at(strings.Split(strings.TrimPrefix(target, "#/"), "/")...)
		}
	}
	return value, place
}

func (d *openapi) schema(t *testing.T, place string) *jsonschema.Schema {
	t.Helper()
	if d.schemas[place] == nil {
		schema, err := d.compiler.Compile(openapiBase + place)
		if err != nil {
			t.Fatalf("%s: %v", place, err)
		}
		d.schemas[place] = schema
	}
	return d.schemas[place]
}

// route returns the path of the document that an address is of, "" for none.
func (d *openapi) route(address string) string {
	path, _, _ := strings.Cut(address, "?")
	if _, ok := d.routes[path]; ok {
		return path
	}
	for _, template := range slices.Sorted(maps.Keys(d.routes)) {
		if d.routes[template].MatchString(path) {
			return template
		}
	}
	return ""
}

// check validates an answer against what the document says of its operation.
func (d *openapi) check(t *testing.T, call contractCall) {
	t.Helper()
	path, method, status := d.route(call.path), strings.ToLower(call.method), fmt.Sprint(call.status)
	operation, _ := d.at("paths", path, method)
	if operation == nil {
		if call.status != http.StatusNotFound && call.status != http.StatusMethodNotAllowed {
			t.Errorf("the document has no %s %s, which answered %d", call.method, call.path, call.status)
		}
		return
	}
	if answer, _ := d.at("paths", path, method, "responses", status); answer == nil {
		t.Errorf("the document has no %s for %s %s", status, call.method, path)
		return
	}
	d.answered[method+" "+path+" "+status] = true
	media, _, _ := mime.ParseMediaType(call.header.Get("Content-Type"))
	_, place := d.at("paths", path, method, "responses", status, "content", media, "schema")
	if place == "" {
		t.Errorf("the document has no %s of %s for %s %s", media, status, call.method, path)
		return
	}
	if media != "application/json" {
		return
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(call.answer))
	if err != nil {
		t.Errorf("%s: %v", call.answer, err)
		return
	}
	if err := d.schema(t, place).Validate(value); err != nil {
		t.Errorf("%s %s: the answer is not what the document says: %v\n%s", call.method, call.path, err, call.answer)
	}
}

// runExamples executes every example of the document: first what submits
// requests, then what reads them.
func (d *openapi) runExamples(t *testing.T, p *process) (executed int) {
	paths := d.document["paths"].(map[string]any)
	run := func(method, path, address string, body []byte, want int) {
		t.Run(method+" "+address, func(t *testing.T) {
			executed++
			user := worker
			if method == http.MethodPost {
				user = "jane@EXAMPLE.COM"
			}
			call := contractCall{method: method, path: address, user: user, body: string(body)}
			call.status, call.header, call.answer = p.do(method, address, call.body, map[string]string{identityHeader: user})
			if call.status != want {
				t.Fatalf("%s: got %d, want %d: %s", body, call.status, want, call.answer)
			}
			d.check(t, call)
			if len(body) > 0 {
				_, place := d.at("paths", path, strings.ToLower(method), "requestBody", "content", "application/json", "schema")
				value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				if err := d.schema(t, place).Validate(value); err != nil {
					t.Errorf("the example does not satisfy its schema: %v", err)
				}
			}
		})
	}
	for _, method := range []string{"post", "patch", "get"} {
		for _, path := range slices.Sorted(maps.Keys(paths)) {
			if operation, _ := d.at("paths", path, method); operation == nil {
				continue
			}
			address, complete := path, true
			var queries []string
			for _, parameter := range d.parameters(path, method) {
				example, has := parameter["example"]
				switch parameter["in"] {
				case "path":
					complete = complete && has
					address = strings.ReplaceAll(address, "{"+fmt.Sprint(parameter["name"])+"}", fmt.Sprint(example))
				case "query":
					if has {
						queries = append(queries, fmt.Sprint(parameter["name"])+"="+url.QueryEscape(fmt.Sprint(example)))
					}
					complete = complete && (has || parameter["required"] != true)
				}
			}
			example, _ := d.at("paths", path, method, "requestBody", "content", "application/json", "example")
			switch {
			case !complete || strings.HasSuffix(path, "/events") || strings.HasSuffix(path, "/logs"):
			case method == "post" && example != nil:
				body, _ := json.Marshal(example)
				run(http.MethodPost, path, address, body, http.StatusCreated)
			case method == "patch":
				body, _ := json.Marshal(example)
				run(http.MethodPatch, path, address, body, http.StatusOK)
			case method == "get":
				run(http.MethodGet, path, address, nil, http.StatusOK)
				for _, query := range queries {
					run(http.MethodGet, path, address+"?"+query, nil, http.StatusOK)
				}
				if len(queries) > 1 {
					run(http.MethodGet, path, address+"?"+strings.Join(queries, "&"), nil, http.StatusOK)
				}
			}
		}
	}
	return executed
}

func (d *openapi) parameters(path, method string) (list []map[string]any) {
	all, _ := d.at("paths", path, method, "parameters")
	entries, _ := all.([]any)
	for _, entry := range entries {
		parameter := entry.(map[string]any)
		if target, ok := parameter["$ref"].(string); ok {
			value, _ := d.at(strings.Split(strings.TrimPrefix(target, "#/"), "/")...)
			parameter = value.(map[string]any)
		}
		list = append(list, parameter)
	}
	return list
}

// complete checks that the document hangs together: every reference leads
// somewhere, every schema compiles, and every operation has a name of its own.
func (d *openapi) complete(t *testing.T) {
	names := make(map[string]bool)
	var walk func(value any, place string)
	walk = func(value any, place string) {
		switch value := value.(type) {
		case map[string]any:
			if target, ok := value["$ref"].(string); ok {
				if found, _ := d.at(strings.Split(strings.TrimPrefix(target, "#/"), "/")...); found == nil {
					t.Errorf("%s refers to %s, which is not there", place, target)
				}
			}
			if id, ok := value["operationId"].(string); ok {
				if names[id] {
					t.Errorf("two operations are called %s", id)
				}
				names[id] = true
				if value["summary"] == "" || value["responses"] == nil || value["tags"] == nil {
					t.Errorf("%s lacks a summary, a tag or its answers", id)
				}
			}
			for name, part := range value {
				walk(part, place+"/"+name)
			}
		case []any:
			for i, part := range value {
				walk(part, fmt.Sprintf("%s/%d", place, i))
			}
		}
	}
	walk(d.document, "#")
	schemas, _ := d.at("components", "schemas")
	for name := range schemas.(map[string]any) {
		_, place := d.at("components", "schemas", name)
		d.schema(t, place)
	}
	if d.document["openapi"] != "3.1.0" || len(names) < 20 {
		t.Errorf("OpenAPI %v with %d operations", d.document["openapi"], len(names))
	}
}

// notThisMachine is every network but that of this machine alone.
const notThisMachine = `"0.0.0.0/2", "64.0.0.0/3", "96.0.0.0/4", "112.0.0.0/5", "120.0.0.0/6", "124.0.0.0/7", "126.0.0.0/8", "128.0.0.0/1", "2000::/3"`

// The examples run against a server of their own, where the plugin of the guide
// adds a type.
func TestEveryExampleOfTheDocumentationWorks(t *testing.T) {
	plugin := buildExample(t, "compare-handler")
	config := shippedWithout(t, `identity "none" {}`) + contractConfig + fmt.Sprintf(`
plugin "compare-handler" {
  kind = "handler"
  path = %q
}
`, plugin)
	// The examples name images of the real world, which tests leave alone.
	config = strings.Replace(config, "registry {\n", "registry {\n  denied_networks = ["+notThisMachine+"]\n", 1)
	p := startWith(t, config, t.TempDir())
	d := readOpenAPI(t, p)
	d.complete(t)
	if n := d.runExamples(t, p); n < 30 {
		t.Errorf("only %d examples", n)
	}

	t.Run("the page needs nothing from elsewhere", func(t *testing.T) {
		for path, media := range map[string]string{"/": "text/html; charset=utf-8", "/static/docs.html": "text/html; charset=utf-8",
			"/static/page.css": "text/css; charset=utf-8", "/static/page.js": "text/javascript; charset=utf-8"} {
			status, header, body := p.do(http.MethodGet, path, "", nil)
			if status != http.StatusOK || header.Get("Content-Type") != media || !strings.HasPrefix(header.Get("Content-Security-Policy"), "default-src 'self';") {
				t.Errorf("%s: %d %v", path, status, header)
			}
			if regexp.MustCompile(`https?://`).Match(body) {
				t.Errorf("%s names an address elsewhere", path)
			}
			for _, link := range regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllStringSubmatch(string(body), -1) {
				if status, _ := p.get(link[1]); status != http.StatusOK {
					t.Errorf("%s refers to %s, which answers %d", path, link[1], status)
				}
			}
		}
		status, header, body := p.do(http.MethodGet, "/static/api_v1.yaml", "", nil)
		if status != http.StatusOK || header.Get("Content-Type") != "application/yaml" || !json.Valid(body) {
			t.Errorf("/static/api_v1.yaml: %d %s", status, header.Get("Content-Type"))
		}
	})

	t.Run("a plugin without an Accept is judged by what it says", func(t *testing.T) {
		for body, want := range map[string]string{
			`{"first":"q/a:1"}`: "second", `{"first":"q/a:1","second":7}`: "second", `{"first":"q/a:1","second":"q/b:1","by":"size"}`: "by",
			`{"first":"q/a:1","second":"q/b:1","surprise":1}`: "surprise", `{"first":"q/a","second":"q/b:1"}`: "first",
			`{"first":"q/a:1","second":"q/b:1","token":{"x":"SECRET"}}`: "token",
		} {
			status, _, answer := p.do(http.MethodPost, "/api/v1/builds/compare", body, map[string]string{identityHeader: jane})
			if status != http.StatusBadRequest || !strings.Contains(errorOf(answer), want) || strings.Contains(string(answer), "SECRET") {
				t.Errorf("%s: %d %s", body, status, answer)
			}
		}
		status, _, answer := p.do(http.MethodPost, "/api/v1/builds/compare", `{"first":"q/a:1","second":"q/b:2","token":"SECRET"}`, map[string]string{identityHeader: jane})
		var build map[string]any
		if err := json.Unmarshal(answer, &build); err != nil || status != http.StatusCreated {
			t.Fatalf("%d: %s", status, answer)
		}
		done := p.wait(build["id"])
		if done["state"] != "complete" || done["first"] != "q/a:1" || done["verdict"] != "different" || done["state_reason"] != "The images have different names, and a token came along." {
			t.Errorf("%v", done)
		}
		if strings.Contains(fmt.Sprint(done)+p.stderr.String(), "SECRET") {
			t.Error("the secret shows")
		}
		// Clients that know the contract's types only do not see this one.
		for query, want := range map[string]bool{"": false, "?all_types=true": true, "?request_type=compare": true, fmt.Sprintf("?batch=%v", build["batch"]): true} {
			if _, data := p.get("/api/v1/builds" + query); strings.Contains(string(data), `"request_type":"compare"`) != want {
				t.Errorf("/builds%s: %s", query, data)
			}
		}
	})
}
