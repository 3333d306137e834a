package catalogtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing/fstest"
	"time"
)

// Spec is the size of a catalog. With 300 packages of 15 bundles it is about
// 100 MB of JSON.
type Spec struct {
	Packages int
	// Bundles is the number of bundles of each package.
	Bundles int
	// Text is the length of a bundle's description in bytes, which dominates
	// its size; zero means 8 kB and a bundle of about 20 kB.
	Text int
	Seed uint64
}

// Large is the catalog that the project's figures are about.
var Large = Spec{Packages: 300, Bundles: 15}

// Name is the name of the i-th package.
func (s Spec) Name(i int) string { return fmt.Sprintf("operator-%03d", i) }

// Package is the metas of the i-th package with n bundles, as indented JSON,
// one after the other: the package, its channels, its bundles.
func (s Spec) Package(i, n int) []byte {
	if s.Text == 0 {
		s.Text = 8 << 10
	}
	g := &generator{Spec: s, name: s.Name(i), rng: rand.New(rand.NewPCG(s.Seed, uint64(i)))}
	return g.run(n)
}

// FS is the catalog with a directory for each package. Files are made when
// they are opened, and again each time: the catalog is never in memory whole.
func (s Spec) FS() fs.FS {
	m := make(fstest.MapFS, s.Packages)
	for i := range s.Packages {
		m[s.Name(i)+"/catalog.json"] = &fstest.MapFile{Mode: 0o644, Sys: i}
	}
	return lazy{m, s}
}

// lazy fills the files of a MapFS when they are opened. It does not embed it,
// so that its other methods do not show the files empty.
type lazy struct {
	files fstest.MapFS
	spec  Spec
}

func (l lazy) Open(name string) (fs.File, error) {
	f, ok := l.files[name]
	if !ok {
		return l.files.Open(name)
	}
	full := *f
	full.Data = l.spec.Package(f.Sys.(int), l.spec.Bundles)
	return fstest.MapFS{name: &full}.Open(name)
}

type generator struct {
	Spec
	name string
	rng  *rand.Rand
	out  bytes.Buffer
	text string
	crds []any
}

type object = map[string]any

func (g *generator) run(n int) []byte {
	icon := make([]byte, 3000)
	for i := range icon {
		icon[i] = byte(g.rng.Uint32())
	}
	g.text = g.prose(g.Text)
	for k := range 3 {
		g.crds = append(g.crds, object{
			"name": fmt.Sprintf("kinds%d.%s.example.com", k, g.name), "kind": fmt.Sprintf("Kind%d", k), "version": "v1alpha1",
			"displayName": g.prose(30), "description": g.prose(400),
			"resources":       []any{object{"kind": "Deployment", "name": "", "version": "v1"}, object{"kind": "Service", "name": "", "version": "v1"}},
			"specDescriptors": []any{object{"path": "size", "description": g.prose(200), "x-descriptors": []string{"urn:alm:descriptor:com.tectonic.ui:podCount"}}},
		})
	}
	g.meta(struct {
		Schema         string `json:"schema"`
		Name           string `json:"name"`
		DefaultChannel string `json:"defaultChannel"`
		Icon           object `json:"icon"`
		Description    string `json:"description"`
	}{"olm.package", g.name, "stable", object{"base64data": base64.StdEncoding.EncodeToString(icon), "mediatype": "image/png"}, g.text})
	for _, channel := range []string{"fast", "stable"} {
		g.channel(channel, n)
	}
	for v := range n {
		g.bundle(v)
	}
	return g.out.Bytes()
}

func (g *generator) channel(name string, n int) {
	entries := make([]object, n)
	for v := range n {
		entries[v] = object{"name": g.version(v)}
		if v > 0 {
			entries[v]["replaces"] = g.version(v - 1)
			entries[v]["skipRange"] = fmt.Sprintf(">=0.9.0 <1.%d.0", v)
		}
	}
	g.meta(struct {
		Schema  string   `json:"schema"`
		Name    string   `json:"name"`
		Package string   `json:"package"`
		Entries []object `json:"entries"`
	}{"olm.channel", name, g.name, entries})
}

func (g *generator) version(v int) string { return fmt.Sprintf("%s.v1.%d.0", g.name, v) }

func (g *generator) bundle(v int) {
	example, _ := json.MarshalIndent([]object{{"apiVersion": g.name + ".example.com/v1alpha1", "kind": "Kind0", "metadata": object{"name": "example"}, "spec": object{"size": v}}}, "", "  ")
	properties := []object{
		{"type": "olm.package", "value": object{"packageName": g.name, "version": fmt.Sprintf("1.%d.0", v)}},
		{"type": "olm.csv.metadata", "value": object{
			"annotations": object{
				"alm-examples": string(example), "capabilities": "Deep Insights", "createdAt": time.Unix(1.6e9+int64(v)*86400, 0).UTC().Format(time.RFC3339),
				"description": g.prose(200), "operators.openshift.io/valid-subscription": `["OpenShift Platform Plus"]`,
			},
			"crdDescriptions": object{"owned": g.crds},
			"description":     g.text + g.prose(g.Text/4),
			"displayName":     "Operator <" + g.name + "> & friends",
			"installModes":    []object{{"type": "OwnNamespace", "supported": true}, {"type": "AllNamespaces", "supported": v%2 == 0}},
			"keywords":        strings.Fields(g.prose(60)),
			"links":           []object{{"name": "Home", "url": "https://example.com/" + g.name}},
			"maintainers":     []object{{"name": g.prose(20), "email": "team@example.com"}},
			"maturity":        "stable", "provider": object{"name": "Example"},
		}},
	}
	for k := range g.crds {
		properties = append(properties, object{"type": "olm.gvk", "value": object{"group": g.name + ".example.com", "kind": fmt.Sprintf("Kind%d", k), "version": "v1alpha1"}})
	}
	var images []object
	for k := range 8 {
		images = append(images, object{"name": fmt.Sprintf("part-%d", k), "image": g.image(fmt.Sprintf("part-%d", k))})
	}
	g.meta(struct {
		Schema     string   `json:"schema"`
		Name       string   `json:"name"`
		Package    string   `json:"package"`
		Image      string   `json:"image"`
		Properties []object `json:"properties"`
		Related    []object `json:"relatedImages"`
	}{"olm.bundle", g.version(v), g.name, g.image("bundle"), properties, images})
}

func (g *generator) image(name string) string {
	return fmt.Sprintf("registry.example.com/%s/%s@sha256:%016x%016x%016x%016x", g.name, name, g.rng.Uint64(), g.rng.Uint64(), g.rng.Uint64(), g.rng.Uint64())
}

func (g *generator) meta(v any) {
	encoder := json.NewEncoder(&g.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "    ")
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
}

var vocabulary = strings.Fields(`the operator manages clusters of database services for teams and keeps
	them available while nodes come and go it watches resources of its own kind creates deployments services
	secrets storage claims rolls out new versions one replica after another takes backups restores them on request
	exports metrics alerts dashboards supports single namespace or all namespaces needs no privileges beyond those
	granted at installation documentation examples upgrade notes known limitations are found on the project page
	encryption authentication authorization policies quotas tracing logging scheduling affinity tolerations`)

func (g *generator) prose(n int) string {
	var b strings.Builder
	for b.Len() < n {
		switch k := g.rng.IntN(40); {
		case k == 0:
			b.WriteString(".\n\n## ")
		case k == 1:
			fmt.Fprintf(&b, "`%x` ", g.rng.Uint32())
		default:
			b.WriteString(vocabulary[g.rng.IntN(len(vocabulary))])
			b.WriteByte(' ')
		}
	}
	return b.String()[:n]
}
