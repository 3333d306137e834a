package core_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/iib-engine/iib/"

// rules is the import table: a package may import what its row allows of this
// module, and nothing else of it. The first row whose prefix fits decides.
var rules = []struct {
	from  string
	may   []string
	third bool
	why   string
}{
	{"sdk/serve", []string{"sdk", "sdk/internal/"}, true, "the author's door knows the vocabulary and the wire"},
	{"sdk/child", nil, true, "processes know nothing but the system"},
	{"sdk/host", []string{"sdk", "sdk/child", "sdk/internal/"}, true, "core's door knows the vocabulary and the wire"},
	{"sdk/sdktest", []string{"sdk", "sdk/sdktest", "sdk/child", "sdk/serve", "sdk/host", "sdk/clienttls", "sdk/internal/"}, true, "the test kit knows both doors"},
	{"sdk/internal/", []string{"sdk", "sdk/internal/"}, true, "the wire knows the vocabulary"},
	{"sdk/params", []string{"sdk"}, false, "reading parameters needs error codes only"},
	{"sdk/clienttls", []string{"sdk", "sdk/clienttls"}, false, "settings of TLS need error codes only"},
	{"sdk/denied", []string{"sdk"}, false, "a rule for connections needs error codes only"},
	{"sdk/image", []string{"sdk", "sdk/denied", "sdk/image"}, true, "images know no bundle and no catalog"},
	{"sdk/bundle", []string{"sdk", "sdk/image", "sdk/bundle"}, true, "bundles know images only"},
	{"sdk/catalog", []string{"sdk", "sdk/image", "sdk/bundle", "sdk/catalog"}, true, "catalogs know bundles and images"},
	{"sdk/index", []string{"sdk", "sdk/params", "sdk/image", "sdk/bundle", "sdk/catalog", "sdk/index"}, true, "indexes stand on the three libraries"},
	{"sdk", nil, false, "the vocabulary needs nothing, so that a small plugin stays small"},
	{"plugins/composer/internal/rpmtest", []string{"sdk/child", "sdk/clienttls", "sdk/sdktest/"}, true, "a test kit knows other test kits"},
	{"plugins/", []string{"sdk", "sdk/serve", "sdk/params", "sdk/child", "sdk/clienttls", "sdk/denied", "sdk/printed", "sdk/image", "sdk/bundle", "sdk/catalog", "sdk/index"}, true, "plugins know the SDK and never core or each other"},
	{"core/cmd/iib", []string{"core", "core/", "sdk", "sdk/host"}, true, "main wires and never links a plugin"},
	{"core/plugin", []string{"core", "sdk", "sdk/host"}, true, "the roster alone opens core's door to plugins"},
	{"core/images", []string{"core", "sdk", "sdk/image"}, true, "one adapter for registries"},
	{"core/bucket", []string{"core", "sdk", "sdk/clienttls"}, true, "a service of buckets is reached as plugins reach theirs"},
	{"core/tags", []string{"core", "sdk"}, false, "registries' memories are reached by HTTP and by the domain's promises"},
	{"core/coretest", []string{"core", "sdk", "sdk/child", "sdk/sdktest/"}, true, "fakes of the domain's promises"},
	{"core/", []string{"core", "sdk"}, true, "adapters bind one technology each and never meet"},
	{"core", []string{"sdk"}, false, "the domain knows no technology"},
	{"docs/", []string{"sdk", "sdk/"}, true, "examples stand where a plugin's author stands"},
}

// technologies are modules that belong to one adapter each.
var technologies = map[string][]string{
	"github.com/hashicorp/go-plugin":                  {"sdk/"},
	"google.golang.org/grpc":                          {"sdk/"},
	"github.com/hashicorp/hcl/v2":                     {"core/config"},
	"github.com/hibiken/asynq":                        {"core/queue"},
	"github.com/redis/go-redis/v9":                    {"core/queue"},
	"github.com/alicebob/miniredis/v2":                {"core/queue"},
	"github.com/gorilla/mux":                          {"core/api", "plugins/"},
	"github.com/jackc/pgx/v5":                         {"core/store"},
	"github.com/santhosh-tekuri/jsonschema/v6":        {"core/schema"},
	"github.com/containers/image/v5":                  {"sdk/image"},
	"go.opentelemetry.io/otel":                        {"core/tracing"},
	"github.com/minio/minio-go/v7":                    {"core/bucket"},
	"github.com/Azure/go-amqp":                        {"plugins/amqp-notify"},
	"github.com/operator-framework/operator-registry": {"sdk/catalog", "sdk/index", "docs/"},
}

type goPackage struct {
	ImportPath string
	Doc        string
	Name       string
	Imports    []string
	GoFiles    []string
	Module     *struct{ Main bool }
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Doc,Name,Imports,GoFiles,Module", "../...")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	var list []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var p goPackage
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func TestImportsFollowTheTable(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			if reason := forbidden(from, imported); reason != "" {
				t.Errorf("%s must not import %s: %s", from, imported, reason)
			}
		}
	}
}

// forbidden returns why an import is against the rules, or "".
func forbidden(from, imported string) string {
	own, isOwn := strings.CutPrefix(imported, module)
	if plugin := pluginOf(from); plugin != "" && plugin == pluginOf(own) {
		return "" // a large plugin may have packages of its own
	}
	for _, rule := range rules {
		if !fits(rule.from, from) {
			continue
		}
		if isOwn && !slices.ContainsFunc(rule.may, func(may string) bool { return fits(may, own) }) {
			return rule.why
		}
		if !isOwn && !rule.third && strings.Contains(strings.Split(imported, "/")[0], ".") {
			return rule.why
		}
		break
	}
	for technology, owners := range technologies {
		if imported != technology && !strings.HasPrefix(imported, technology+"/") {
			continue
		}
		if !slices.ContainsFunc(owners, func(owner string) bool { return strings.HasPrefix(from, owner) }) {
			return "it belongs to " + strings.Join(owners, " and ")
		}
	}
	return ""
}

// pluginOf returns the name of the plugin that a package is part of, or "".
func pluginOf(name string) string {
	rest, ok := strings.CutPrefix(name, "plugins/")
	if !ok {
		return ""
	}
	plugin, _, _ := strings.Cut(rest, "/")
	return plugin
}

// fits tells whether a package is what a row names: a prefix when the row ends
// in a slash, else the package itself; the libraries below sdk may have parts.
func fits(row, name string) bool {
	if strings.HasSuffix(row, "/") {
		return strings.HasPrefix(name, row)
	}
	if name == row {
		return true
	}
	switch row {
	case "sdk", "core":
		return false
	}
	return strings.HasPrefix(name, row+"/")
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: the package comment must begin with %q, and is %q", p.ImportPath, want, p.Doc)
		}
	}
}

func TestTheTableForbidsWhatItShould(t *testing.T) {
	for _, c := range []struct{ from, imported string }{
		{"plugins/index-add", module + "core"},
		{"plugins/index-add", module + "plugins/index-rm"},
		{"plugins/index-add", module + "plugins/registry/internal/store"},
		{"plugins/index-add", module + "sdk/host"},
		{"core/engine", module + "core/store"},
		{"core/engine", module + "sdk/host"},
		{"core", module + "core/engine"},
		{"core", "github.com/hashicorp/hcl/v2"},
		{"sdk", "github.com/hashicorp/go-plugin"},
		{"sdk/image", module + "sdk/bundle"},
		{"core/cmd/iib", module + "plugins/index-add"},
		{"core/api", "github.com/hibiken/asynq"},
	} {
		if forbidden(c.from, c.imported) == "" {
			t.Errorf("%s may import %s", c.from, c.imported)
		}
	}
}
