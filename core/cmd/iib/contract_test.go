package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
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

type contractCase struct {
	// name tells the rule; path is below /api/v1.
	name, method, path, body string
	user                     string
	status                   int
	// names is what the error must contain.
	names string
}

const (
	add    = "/builds/add"
	rm     = "/builds/rm"
	merge  = "/builds/merge-index-image"
	empty  = "/builds/create-empty-index"
	fbc    = "/builds/fbc-operations"
	deprec = "/builds/add-deprecations"
	jane   = "jane@DOMAIN.LOCAL"
	worker = "worker@DOMAIN.LOCAL"
	root   = "root@DOMAIN.LOCAL"
)

// withBinary puts a binary image beside other parameters.
func withBinary(body string) string {
	return strings.Replace(strings.Replace(body, "{", `{"binary_image":"q.invalid/bin:1",`, 1), ",}", "}", 1)
}

func TestContractOfSubmissions(t *testing.T) {
	p := contractServer(t)
	var cases []contractCase
	bad := func(rule, path, names string, bodies ...string) {
		for i, body := range bodies {
			cases = append(cases, contractCase{fmt.Sprintf("%s, form %d", rule, i+1), http.MethodPost, path, body, jane, 400, names})
		}
	}
	status := func(rule, path, user string, status int, names, body string) {
		cases = append(cases, contractCase{rule, http.MethodPost, path, body, user, status, names})
	}

	// 2.1: the first checks, on every endpoint.
	for _, path := range []string{add, rm, merge, empty, fbc, deprec, "/builds/add-rm-batch", "/builds/regenerate-bundle-batch"} {
		status("2.1.1 nobody is authenticated", path, "", 401, "", `{}`)
		bad("2.1.3 not well-formed JSON", path, "", `{`, `{"a":1} x`, "{\"a\":\"\xff\"}")
		bad("2.1.4 not an object", path, "", `[]`, `"x"`, `1`, `null`)
	}

	// 2.2: unknown parameters beat everything after C1.
	bad("2.2 unknown parameters are all named", add, "surprise", withBinary(`{"from_index":"q/i:1","surprise":1,"distribution_scope":"x"}`))
	bad("2.2 unknown parameters are all named, the second", add, "zebra", withBinary(`{"from_index":"q/i:1","surprise":null,"zebra":1}`))
	bad("2.2 output_fbc is no parameter of add", add, "output_fbc", withBinary(`{"from_index":"q/i:1","output_fbc":true}`))
	bad("2.2 columns are no parameters", add, "batch", withBinary(`{"from_index":"q/i:1","batch":1}`))
	for _, name := range []string{"organization", "cnr_token", "bundles", "deprecation_list", "graph_update_mode", "output_fbc"} {
		bad("2.6 "+name+" is no parameter of rm", rm, name, withBinary(`{"operators":["a"],"from_index":"q/i:1","`+name+`":"x"}`))
	}
	for _, name := range []string{"id", "type", "batch", "user", "from_index"} {
		bad("FIX-2 merge knows no "+name, merge, name, withBinary(`{"source_from_index":"q/i:1","`+name+`":"x"}`))
	}

	// 2.3: the shared rules, on the endpoints that have them.
	for _, e := range []struct{ path, rest string }{
		{add, ``}, {rm, `"operators":["a"],`}, {fbc, `"fbc_fragments":["q/f:1"],`},
		{deprec, `"operator_package":"a","deprecation_schema":"{}",`},
	} {
		body := func(rest string) string { return withBinary(`{` + e.rest + rest + `}`) }
		at := e.path + ": "
		bad(at+"C1 missing from_index", e.path, "from_index", body(`"build_tags":[]`))
		bad(at+"C3 empty from_index", e.path, "from_index", body(`"from_index":""`), body(`"from_index":null`))
		bad(at+"C6 overwrite is no bool", e.path, "overwrite_from_index", body(`"from_index":"q/i:1","overwrite_from_index":"x"`), body(`"from_index":"q/i:1","overwrite_from_index":1`))
		bad(at+"C7 the token is no string", e.path, "overwrite_from_index_token", body(`"from_index":"q/i:1","overwrite_from_index":true,"overwrite_from_index_token":1`))
		bad(at+"C8 a token without overwrite", e.path, "overwrite_from_index", body(`"from_index":"q/i:1","overwrite_from_index_token":"u:p"`), body(`"from_index":"q/i:1","overwrite_from_index":false,"overwrite_from_index_token":"u:p"`))
		bad(at+"C9 an unknown scope", e.path, "distribution_scope", body(`"from_index":"q/i:1","distribution_scope":"all"`), body(`"from_index":"q/i:1","distribution_scope":7`), body(`"from_index":"q/i:1","distribution_scope":["dev"]`))
		status(at+"C10 overwrite without a token", e.path, jane, 403, "overwrite_from_index_token", body(`"from_index":"q/i:1","overwrite_from_index":true`))
		status(at+"C10 an empty token is none", e.path, jane, 403, "", body(`"from_index":"q/i:1","overwrite_from_index":true,"overwrite_from_index_token":""`))
		bad(at+"C9 beats C10", e.path, "distribution_scope", body(`"from_index":"q/i:1","overwrite_from_index":true,"distribution_scope":"x"`))
		status(at+"C10 beats C12", e.path, jane, 403, "", `{`+e.rest+`"from_index":"q/i:1","overwrite_from_index":true,"binary_image":7}`)
		bad(at+"C11 add_arches is no list of names", e.path, "add_arches", body(`"from_index":"q/i:1","add_arches":"amd64"`), body(`"from_index":"q/i:1","add_arches":[""]`), body(`"from_index":"q/i:1","add_arches":[1]`), body(`"from_index":"q/i:1","add_arches":false`))
		bad(at+"C12 binary_image is no string", e.path, "binary_image", `{`+e.rest+`"from_index":"q/i:1","binary_image":7}`, `{`+e.rest+`"from_index":"q/i:1","binary_image":true}`, `{`+e.rest+`"from_index":"q/i:1","binary_image":false}`)
		bad(at+"C13 binary_image has no default here", e.path, "binary_image", `{`+e.rest+`"from_index":"q/i:1"}`, `{`+e.rest+`"from_index":"q/i:1","binary_image":""}`)
		bad(at+"C14 binary_image is no pull spec", e.path, "binary_image", `{`+e.rest+`"from_index":"q/i:1","binary_image":"q/bin"}`)
		bad(at+"C15 from_index is no pull spec", e.path, "from_index", body(`"from_index":"q/i"`), body(`"from_index":7`))
		bad(at+"FIX-4 build_tags is no list of names", e.path, "build_tags", body(`"from_index":"q/i:1","build_tags":"abc"`), body(`"from_index":"q/i:1","build_tags":7`), body(`"from_index":"q/i:1","build_tags":[""]`), body(`"from_index":"q/i:1","build_tags":[7]`))
		status(at+"accepted", e.path, jane, 201, "", body(`"from_index":"q.invalid/i:1"`))
		status(at+"empty optional parameters are absent", e.path, jane, 201, "", body(`"from_index":"q.invalid/i:1","add_arches":null,"distribution_scope":"","overwrite_from_index":null,"overwrite_from_index_token":"","build_tags":null`))
		status(at+"scope in any case", e.path, jane, 201, "", body(`"from_index":"q.invalid/i:1","distribution_scope":"PROD"`))
		status(at+"a privileged user needs no token", e.path, root, 201, "", body(`"from_index":"q.invalid/i:1","overwrite_from_index":true`))
	}

	// 2.5: add.
	bad("2.5.2 bundles is no list of names", add, "bundles", withBinary(`{"bundles":null,"from_index":"q/i:1"}`), withBinary(`{"bundles":{},"from_index":"q/i:1"}`), withBinary(`{"bundles":"","from_index":"q/i:1"}`), withBinary(`{"bundles":0,"from_index":"q/i:1"}`), withBinary(`{"bundles":[[]],"from_index":"q/i:1"}`), withBinary(`{"bundles":[{}],"from_index":"q/i:1"}`))
	bad("2.5.2 deprecation_list is no list of names", add, "deprecation_list", withBinary(`{"deprecation_list":null,"from_index":"q/i:1"}`), withBinary(`{"deprecation_list":"x","from_index":"q/i:1"}`), withBinary(`{"deprecation_list":[1],"from_index":"q/i:1"}`))
	bad("2.5.3 neither bundles nor from_index", add, "from_index", withBinary(`{"add_arches":["amd64"]}`), withBinary(`{"bundles":[],"add_arches":["amd64"]}`))
	bad("2.5.4 check_related_images without bundles", add, "check_related_images", withBinary(`{"from_index":"q/i:1","check_related_images":true}`))
	bad("2.5.4 check_related_images is no bool", add, "check_related_images", withBinary(`{"bundles":["q/b:1"],"add_arches":["amd64"],"check_related_images":null}`), withBinary(`{"bundles":["q/b:1"],"add_arches":["amd64"],"check_related_images":"x"}`), withBinary(`{"bundles":["q/b:1"],"add_arches":["amd64"],"check_related_images":0}`))
	bad("2.5.5 texts that are null", add, "cnr_token", withBinary(`{"from_index":"q/i:1","cnr_token":null}`))
	bad("2.5.5 texts that are null", add, "organization", withBinary(`{"from_index":"q/i:1","organization":null}`))
	bad("2.5.5 texts that are null", add, "graph_update_mode", withBinary(`{"from_index":"q/i:1","graph_update_mode":null}`))
	bad("2.5.5 an unknown graph mode", add, "graph_update_mode", withBinary(`{"from_index":"q/i:1","graph_update_mode":"x"}`))
	status("2.12 an index that is not listed", add, jane, 403, "graph_update_mode", withBinary(`{"from_index":"q/i:1","graph_update_mode":"semver"}`))
	bad("2.5.6 force_backport is no bool", add, "force_backport", withBinary(`{"from_index":"q/i:1","force_backport":null}`), withBinary(`{"from_index":"q/i:1","force_backport":"x"}`))
	bad("2.5.7 neither from_index nor add_arches", add, "add_arches", withBinary(`{"bundles":["q/b:1"]}`))
	bad("2.5.8 a bundle is no pull spec", add, "bundles", withBinary(`{"bundles":["q/b"],"from_index":"q/i:1"}`))
	bad("2.5.8 a deprecated bundle is no pull spec", add, "deprecation_list", withBinary(`{"deprecation_list":["q/b"],"from_index":"q/i:1"}`))
	status("2.5 bundles without an index", add, jane, 201, "", withBinary(`{"bundles":["q.invalid/b:1"],"add_arches":["amd64"]}`))
	status("2.5 legacy parameters are accepted", add, jane, 201, "", withBinary(`{"from_index":"q.invalid/i:1","cnr_token":"x","organization":"","force_backport":true}`))

	// 2.6: rm.
	bad("2.6.1 operators", rm, "operators", withBinary(`{"from_index":"q/i:1"}`), withBinary(`{"operators":null,"from_index":"q/i:1"}`), withBinary(`{"operators":[],"from_index":"q/i:1"}`), withBinary(`{"operators":"x","from_index":"q/i:1"}`), withBinary(`{"operators":[1],"from_index":"q/i:1"}`), withBinary(`{"operators":[""],"from_index":"q/i:1"}`))
	status("FIX-6 repeated operators", rm, jane, 201, "", withBinary(`{"operators":["a","a"],"from_index":"q.invalid/i:1"}`))

	// 2.9: merge.
	src := func(rest string) string { return withBinary(`{"source_from_index":"q.invalid/i:1"` + rest + `}`) }
	bad("2.9 source_from_index", merge, "source_from_index", withBinary(`{"target_index":"q/i:1"}`), withBinary(`{"source_from_index":null}`), withBinary(`{"source_from_index":""}`), withBinary(`{"source_from_index":7}`), withBinary(`{"source_from_index":"q/i"}`))
	bad("2.9 deprecation_list", merge, "deprecation_list", src(`,"deprecation_list":null`), src(`,"deprecation_list":"x"`))
	bad("2.9 graph_update_mode", merge, "graph_update_mode", src(`,"graph_update_mode":"x"`), src(`,"graph_update_mode":7`))
	status("2.9 graph mode without a target", merge, jane, 403, "graph_update_mode", src(`,"graph_update_mode":"semver"`))
	bad("FIX-24 graph mode and a strange target", merge, "target_index", src(`,"graph_update_mode":"semver","target_index":7`), src(`,"target_index":7`))
	bad("2.9 overwrite_target_index", merge, "overwrite_target_index", src(`,"overwrite_target_index":null`), src(`,"overwrite_target_index":""`), src(`,"overwrite_target_index":0`), src(`,"overwrite_target_index":1`))
	bad("2.9 overwrite needs a token", merge, "overwrite_target_index_token", src(`,"target_index":"q/t:1","overwrite_target_index":true`))
	bad("2.9 a token needs overwrite", merge, "overwrite_target_index", src(`,"overwrite_target_index_token":"u:p"`))
	bad("2.9 build_tags", merge, "build_tags", src(`,"build_tags":null`), src(`,"build_tags":"x"`))
	bad("FIX-25 ignore_bundle_ocp_version", merge, "ignore_bundle_ocp_version", src(`,"ignore_bundle_ocp_version":"x"`))
	status("FIX-1 build tags of a merge", merge, jane, 201, "", src(`,"build_tags":["a"]`))
	status("2.9 nulls that are fine", merge, jane, 201, "", src(`,"target_index":null,"graph_update_mode":null,"ignore_bundle_ocp_version":null,"deprecation_list":[]`))

	// 2.10: the rest.
	bad("2.10 create-empty: from_index", empty, "from_index", withBinary(`{}`), withBinary(`{"from_index":null}`), withBinary(`{"from_index":7}`), withBinary(`{"from_index":""}`))
	bad("2.10 create-empty: output_fbc", empty, "output_fbc", withBinary(`{"from_index":"q/i:1","output_fbc":"x"}`), withBinary(`{"from_index":"q/i:1","output_fbc":1}`))
	bad("2.10 create-empty: labels", empty, "labels", withBinary(`{"from_index":"q/i:1","labels":""}`), withBinary(`{"from_index":"q/i:1","labels":[]}`), withBinary(`{"from_index":"q/i:1","labels":{"a":1}}`))
	for _, name := range []string{"add_arches", "overwrite_from_index", "overwrite_from_index_token", "build_tags"} {
		bad("2.10 create-empty refuses "+name, empty, name, withBinary(`{"from_index":"q/i:1","`+name+`":null}`))
	}
	status("2.10 create-empty: accepted", empty, jane, 201, "", withBinary(`{"from_index":"q.invalid/i:1","output_fbc":0,"labels":{}}`))
	bad("2.10 fbc: both forms", fbc, "fbc_fragment", withBinary(`{"from_index":"q/i:1","fbc_fragment":"q/f:1","fbc_fragments":["q/f:1"]}`))
	bad("2.10 fbc: no form", fbc, "fbc_fragment", withBinary(`{"from_index":"q/i:1"}`), withBinary(`{"from_index":"q/i:1","fbc_fragment":null}`))
	bad("2.10 fbc: fragments", fbc, "fbc_fragment", withBinary(`{"from_index":"q/i:1","fbc_fragment":7}`), withBinary(`{"from_index":"q/i:1","fbc_fragment":""}`), withBinary(`{"from_index":"q/i:1","fbc_fragments":[]}`), withBinary(`{"from_index":"q/i:1","fbc_fragments":"q/f:1"}`), withBinary(`{"from_index":"q/i:1","fbc_fragments":[1]}`), withBinary(`{"from_index":"q/i:1","fbc_fragments":["q/f"]}`))
	bad("2.10 fbc: the internal marker", fbc, "_used_fbc_fragment", withBinary(`{"from_index":"q/i:1","fbc_fragments":["q/f:1"],"_used_fbc_fragment":true}`))
	status("2.10 fbc: the older form", fbc, jane, 201, "", withBinary(`{"from_index":"q.invalid/i:1","fbc_fragment":"q/f:1","fbc_fragments":null}`))
	status("FIX-6 repeated fragments", fbc, jane, 201, "", withBinary(`{"from_index":"q.invalid/i:1","fbc_fragments":["q/f:1","q/f:1"]}`))
	bad("2.10 deprecations: operator_package", deprec, "operator_package", withBinary(`{"from_index":"q/i:1","deprecation_schema":"{}"}`), withBinary(`{"from_index":"q/i:1","operator_package":"","deprecation_schema":"{}"}`), withBinary(`{"from_index":"q/i:1","operator_package":7,"deprecation_schema":"{}"}`))
	bad("2.10 deprecations: deprecation_schema", deprec, "deprecation_schema", withBinary(`{"from_index":"q/i:1","operator_package":"a"}`), withBinary(`{"from_index":"q/i:1","operator_package":"a","deprecation_schema":{}}`), withBinary(`{"from_index":"q/i:1","operator_package":"a","deprecation_schema":"{"}`))

	// 2.11: batches.
	const batch = "/builds/add-rm-batch"
	bad("2.11 build_requests", batch, "build_requests", `{}`, `{"build_requests":{}}`, `{"build_requests":[]}`, `{"build_requests":"x"}`)
	bad("2.11 annotations", batch, "annotations", `{"build_requests":[{}],"annotations":null}`, `{"build_requests":[{}],"annotations":[]}`, `{"build_requests":[{}],"annotations":"x"}`)
	good := withBinary(`{"operators":["a"],"from_index":"q.invalid/i:1"}`)
	bad("FIX-8 an item that is no object names its index", batch, "[1]", `{"build_requests":[`+good+`,7]}`)
	bad("2.11 an item that is neither", batch, "[1]", `{"build_requests":[`+good+`,{}]}`)
	bad("2.11 an item with both", batch, "bundles", `{"build_requests":[`+withBinary(`{"operators":["a"],"bundles":["q/b:1"],"from_index":"q/i:1"}`)+`]}`)
	bad("2.11 an add with operators", batch, "operators", `{"build_requests":[`+withBinary(`{"operators":[],"bundles":["q/b:1"],"from_index":"q/i:1"}`)+`]}`)
	bad("2.11 a bad item names its index", batch, "[1]", `{"build_requests":[`+good+`,`+withBinary(`{"operators":["a"],"from_index":"q/i"}`)+`]}`)
	status("2.11 a 403 stays one", batch, jane, 403, "", `{"build_requests":[`+good+`,`+withBinary(`{"operators":["a"],"from_index":"q/i:1","overwrite_from_index":true}`)+`]}`)
	status("2.11 accepted", batch, jane, 201, "", `{"build_requests":[`+good+`],"annotations":{},"more":1}`)

	runContract(t, p, cases)
}

func runContract(t *testing.T, p *process, cases []contractCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			headers := map[string]string{}
			if c.user != "" {
				headers[identityHeader] = c.user
			}
			status, header, body := p.do(c.method, "/api/v1"+c.path, c.body, headers)
			if status != c.status {
				t.Fatalf("%s %s %s: got %d, want %d: %s", c.method, c.path, c.body, status, c.status, body)
			}
			if got := header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type is %q", got)
			}
			if status < 400 {
				return
			}
			var fault map[string]any
			if err := json.Unmarshal(body, &fault); err != nil {
				t.Fatalf("the body is not JSON: %s", body)
			}
			text, _ := fault["error"].(string)
			if text == "" || !strings.Contains(text, c.names) {
				t.Errorf("the error %q does not name %q", text, c.names)
			}
		})
	}
}

// keys are the complete key sets of the contract's section 3.7, besides the
// common ones.
var keys = map[string][]string{
	"add": {"binary_image", "binary_image_resolved", "build_tags", "bundle_mapping", "bundles", "check_related_images", "deprecation_list",
		"distribution_scope", "from_index", "from_index_resolved", "graph_update_mode", "index_image", "index_image_resolved",
		"internal_index_image_copy", "internal_index_image_copy_resolved", "omps_operator_version", "organization", "removed_operators"},
	"rm": {"binary_image", "binary_image_resolved", "build_tags", "bundle_mapping", "bundles", "deprecation_list",
		"distribution_scope", "from_index", "from_index_resolved", "index_image", "index_image_resolved",
		"internal_index_image_copy", "internal_index_image_copy_resolved", "organization", "removed_operators"},
	"merge-index-image": {"binary_image", "binary_image_resolved", "build_tags", "deprecation_list", "distribution_scope", "graph_update_mode",
		"ignore_bundle_ocp_version", "index_image", "source_from_index", "source_from_index_resolved", "target_index", "target_index_resolved"},
	"create-empty-index": {"binary_image", "binary_image_resolved", "distribution_scope", "from_index", "from_index_resolved", "index_image",
		"index_image_resolved", "labels"},
	"fbc-operations": {"binary_image", "binary_image_resolved", "build_tags", "distribution_scope", "fbc_fragment", "fbc_fragment_resolved",
		"fbc_fragments", "fbc_fragments_resolved", "from_index", "from_index_resolved", "index_image", "index_image_resolved",
		"internal_index_image_copy", "internal_index_image_copy_resolved"},
	"add-deprecations": {"binary_image", "binary_image_resolved", "build_tags", "deprecation_schema_url", "from_index", "from_index_resolved",
		"index_image", "index_image_resolved", "internal_index_image_copy", "internal_index_image_copy_resolved", "operator_package"},
}

var commonKeys = []string{"id", "request_type", "batch", "user", "arches", "state", "state_reason", "updated"}

func TestContractOfRepresentations(t *testing.T) {
	p := contractServer(t)
	bodies := map[string]string{
		"add": `{"from_index":"q.invalid/i:1"}`, "rm": `{"operators":["a"],"from_index":"q.invalid/i:1"}`,
		"merge-index-image":  `{"source_from_index":"q.invalid/i:1"}`,
		"create-empty-index": `{"from_index":"q.invalid/i:1"}`,
		"fbc-operations":     `{"from_index":"q.invalid/i:1","fbc_fragments":["q.invalid/f:1"]}`,
		"add-deprecations":   `{"from_index":"q.invalid/i:1","operator_package":"a","deprecation_schema":"{}"}`,
	}
	for requestType, body := range bodies {
		t.Run(requestType, func(t *testing.T) {
			status, _, data := p.do(http.MethodPost, "/api/v1/builds/"+requestType, withBinary(body), map[string]string{identityHeader: jane})
			if status != http.StatusCreated {
				t.Fatalf("%d: %s", status, data)
			}
			verbose := slices.Concat(commonKeys, keys[requestType], []string{"batch_annotations", "state_history", "logs"})
			wantKeys(t, data, verbose)
			var build struct{ Batch int64 }
			if err := json.Unmarshal(data, &build); err != nil {
				t.Fatal(err)
			}
			status, data = p.get(fmt.Sprintf("/api/v1/builds?batch=%d", build.Batch))
			var list struct{ Items []json.RawMessage }
			if err := json.Unmarshal(data, &list); err != nil || status != http.StatusOK || len(list.Items) != 1 {
				t.Fatalf("%d: %s", status, data)
			}
			wantKeys(t, list.Items[0], slices.Concat(commonKeys, keys[requestType]))
		})
	}
}

func wantKeys(t *testing.T, data []byte, want []string) {
	t.Helper()
	var build map[string]any
	if err := json.Unmarshal(data, &build); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	for _, name := range want {
		if _, ok := build[name]; !ok {
			t.Errorf("the key %s is missing", name)
		}
	}
	for name := range build {
		if !slices.Contains(want, name) {
			t.Errorf("the key %s must not be there", name)
		}
	}
}

func TestContractOfReading(t *testing.T) {
	p := contractServer(t)
	status, _, body := p.do(http.MethodPost, "/api/v1"+rm, withBinary(`{"operators":["a"],"from_index":"q.invalid/i:1"}`), map[string]string{identityHeader: jane})
	if status != http.StatusCreated {
		t.Fatalf("%d: %s", status, body)
	}
	p.wait(1)
	ok := func(name, path string) contractCase { return contractCase{name, http.MethodGet, path, "", "", 200, ""} }
	bad := func(name, path string, status int, names string) contractCase {
		return contractCase{name, http.MethodGet, path, "", "", status, names}
	}
	runContract(t, p, []contractCase{
		ok("4.1 everything", "/builds"),
		ok("4.1 unknown parameters are ignored", "/builds?surprise=1"),
		ok("4.1 the first value counts", "/builds?page=1&page=x"),
		bad("4.1 page is no number", "/builds?page=x", 404, "page"),
		bad("4.1 page is empty", "/builds?page=", 404, "page"),
		bad("4.1 page 0", "/builds?page=0", 404, "page"),
		bad("4.1 page past the end", "/builds?page=2", 404, ""),
		bad("4.1 a huge page", "/builds?page=9223372036854775807", 404, ""),
		bad("4.1 per_page is no number", "/builds?per_page=x", 404, "per_page"),
		bad("4.1 per_page 0", "/builds?per_page=0", 404, "per_page"),
		ok("4.1 per_page is capped", "/builds?per_page=100000"),
		ok("4.1 verbose", "/builds?verbose=TRUE"),
		ok("4.1 verbose is never an error", "/builds?verbose=x"),
		ok("4.1 state", "/builds?state=failed"),
		ok("4.1 an empty state is ignored", "/builds?state="),
		bad("4.1 an unknown state", "/builds?state=Failed", 400, "state"),
		bad("4.1 filters before pages", "/builds?state=x&page=x", 400, "state"),
		ok("4.1 batch", "/builds?batch=1"),
		ok("4.1 an unknown batch", "/builds?batch=99"),
		bad("4.1 an empty batch", "/builds?batch=", 400, "batch"),
		bad("4.1 a strange batch", "/builds?batch=x", 400, "batch"),
		bad("4.1 batch 0", "/builds?batch=0", 400, "batch"),
		ok("FIX-29 state and batch", "/builds?batch=1&state=failed"),
		ok("4.1 request_type", "/builds?request_type=rm"),
		ok("4.1 generic", "/builds?request_type=generic"),
		bad("4.1 an unknown type", "/builds?request_type=create_empty_index", 400, "request_type"),
		ok("4.1 user", "/builds?user="+jane),
		ok("4.1 an unknown user", "/builds?user=x"),
		ok("4.1 from_index", "/builds?from_index=q.invalid/i:1"),
		bad("4.1 from_index never seen", "/builds?from_index=q/never:1", 400, "from_index"),
		bad("4.1 index_image never seen", "/builds?index_image=q/never:1", 400, "index_image"),
		ok("4.1 index_image seen elsewhere", "/builds?index_image=q.invalid/i:1"),
		ok("4.1 prefix", "/builds?from_index_startswith=q.invalid/"),
		bad("FIX-19 the prefix is literal", "/builds?from_index_startswith=q%25", 400, "from_index_startswith"),
		ok("4.2 one", "/builds/1"),
		ok("4.2 leading zeros", "/builds/0001"),
		bad("4.2 unknown", "/builds/99", 404, ""),
		bad("4.2 zero", "/builds/0", 404, ""),
		bad("FIX-20 too large", "/builds/99999999999999999999", 404, ""),
		bad("1 no number", "/builds/abc", 404, ""),
		bad("1 a sign", "/builds/-1", 404, ""),
		bad("1 a trailing slash", "/builds/", 404, ""),
		bad("1 a trailing slash behind an ID", "/builds/1/", 404, ""),
		bad("1 another case", "/Builds", 404, ""),
		bad("9 the method comes first", "/builds/add", 405, ""),
		{"9 POST on the list", http.MethodPost, "/builds", `{}`, "", 405, ""},
		{"9 PUT on a build", http.MethodPut, "/builds/1", `{}`, "", 405, ""},
		bad("4.3 the artifact of another type", "/builds/1/deprecation-schema", 400, ""),
		bad("4.3 no such artifact", "/builds/1/surprise", 404, ""),
		bad("4.3 the log of an unknown request", "/builds/99/logs", 404, ""),
		ok("1.18 health", "/healthcheck"),
	})
	t.Run("1 OPTIONS", func(t *testing.T) {
		status, header, body := p.do(http.MethodOptions, "/api/v1/builds/add", "", nil)
		if status != 200 || len(body) != 0 || header.Get("Allow") != "OPTIONS, POST" {
			t.Errorf("%d, Allow %q, %s", status, header.Get("Allow"), body)
		}
	})
	t.Run("1 HEAD", func(t *testing.T) {
		if status, _, body := p.do(http.MethodHead, "/api/v1/builds/1", "", nil); status != 200 || len(body) != 0 {
			t.Errorf("%d %s", status, body)
		}
	})
	t.Run("2.1.2 another media type", func(t *testing.T) {
		for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "x"} {
			status, _, _ := p.do(http.MethodPost, "/api/v1"+add, `{}`, map[string]string{identityHeader: jane, "Content-Type": media})
			if status != 415 {
				t.Errorf("%s: got %d", media, status)
			}
		}
		for _, media := range []string{"APPLICATION/JSON; charset=utf-8", "application/vnd.x+json"} {
			status, _, _ := p.do(http.MethodPost, "/api/v1"+add, `{`, map[string]string{identityHeader: jane, "Content-Type": media})
			if status != 400 {
				t.Errorf("%s: got %d", media, status)
			}
		}
	})
	t.Run("a body of 50 MB", func(t *testing.T) {
		body := `{"bundles":["` + strings.Repeat("a", 50<<20) + `"]}`
		if status, _, _ := p.do(http.MethodPost, "/api/v1"+add, body, map[string]string{identityHeader: jane}); status != 413 && status != 0 {
			t.Errorf("got %d", status)
		}
	})
	t.Run("4.3 the log", func(t *testing.T) {
		status, header, body := p.do(http.MethodGet, "/api/v1/builds/1/logs", "", nil)
		if status != 200 || header.Get("Content-Type") != "text/plain; charset=utf-8" || len(body) == 0 {
			t.Errorf("%d %s: %s", status, header.Get("Content-Type"), body)
		}
	})
}

func TestContractOfPatches(t *testing.T) {
	p := contractServer(t)
	for range 2 {
		status, _, body := p.do(http.MethodPost, "/api/v1"+add, withBinary(`{"from_index":"q.invalid/i:1"}`), map[string]string{identityHeader: jane})
		if status != http.StatusCreated {
			t.Fatalf("%d: %s", status, body)
		}
	}
	p.wait(1)
	patch := func(name, body, user string, status int, names string) contractCase {
		return contractCase{name, http.MethodPatch, "/builds/1", body, user, status, names}
	}
	runContract(t, p, []contractCase{
		patch("5.1.1 nobody", `{}`, "", 401, ""),
		patch("5.1.2 no worker", `{`, jane, 403, ""),
		{"5.1.2 no worker, unknown request", http.MethodPatch, "/builds/99", `{`, jane, 403, ""},
		patch("5.1.3 malformed", `{`, worker, 400, ""),
		patch("5.1.4 empty", `{}`, worker, 400, ""),
		patch("5.1.4 no object", `[]`, worker, 400, ""),
		{"5.1.5 unknown", http.MethodPatch, "/builds/99", `{"arches":[]}`, worker, 404, ""},
		patch("5.1.6 all keys that are not allowed", `{"user":"x","from_index":"q/i:1"}`, worker, 400, "from_index, user"),
		patch("5.1.7 a wrong shape", `{"index_image":7}`, worker, 400, "index_image"),
		patch("5.1.7 null", `{"index_image":null}`, worker, 400, "index_image"),
		patch("5.1.8 a state alone", `{"state":"failed"}`, worker, 400, "state_reason"),
		patch("5.1.8 a reason alone", `{"state_reason":"x"}`, worker, 400, "state"),
		patch("5.1.9 an unknown state", `{"state":"done","state_reason":"x"}`, worker, 400, "state"),
		patch("5.1.10 a final state stays", `{"state":"complete","state_reason":"x"}`, worker, 400, ""),
		patch("5.1.11 no pull spec", `{"index_image":"q/i"}`, worker, 400, "index_image"),
		patch("FIX-14 no JSON in omps_operator_version", `{"omps_operator_version":"{"}`, worker, 400, "omps_operator_version"),
		patch("5.4 another reason of a final state", `{"state":"failed","state_reason":"another"}`, worker, 200, ""),
		patch("5.4 arches of a finished request", `{"arches":["s390x"]}`, worker, 200, ""),
		patch("5.2 without effect", `{"bundles":["q/b:1"],"from_bundle_image_resolved":"q/b@sha256:1"}`, worker, 200, ""),
		patch("5.3 omps_operator_version", `{"omps_operator_version":"{\"a\":\"1.0\"}"}`, worker, 200, ""),
	})
	_, body := p.get("/api/v1/builds/1")
	var build struct {
		Arches  []string          `json:"arches"`
		Reason  string            `json:"state_reason"`
		OMPS    map[string]string `json:"omps_operator_version"`
		Bundles []string          `json:"bundles"`
	}
	if err := json.Unmarshal(body, &build); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(build.Arches, []string{"s390x"}) || build.Reason != "another" || build.OMPS["a"] != "1.0" || len(build.Bundles) != 0 {
		t.Errorf("after the patches: %+v", build)
	}
}
