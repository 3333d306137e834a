package servecache

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/alpha/model"
	"github.com/operator-framework/operator-registry/alpha/property"
	"github.com/operator-framework/operator-registry/pkg/api"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/tree"
)

// encoding turns what a cache holds into keys and values.
type encoding interface {
	bundleKey(pkg, channel, name string) (string, error)
	bundle(*api.Bundle) ([]byte, error)
	// customs are the records of the metas of one schema.
	customs(schema, pkg string, blobs [][]byte) ([]record, error)
	// frame appends a record as it lies in the state.
	frame(dst []byte, r record) []byte
}

// record is a key and its value in a cache.
type record struct {
	key   string
	value []byte
}

// compile makes what a package gives to a cache, and sends it to a state's
// writer. A package that opm could not serve is refused with code Invalid.
func compile(ctx context.Context, enc encoding, pkg string, metas []tree.Meta, out *stateWriter) error {
	var (
		known   []*declcfg.Meta
		customs = make(map[string][][]byte)
	)
	for i := range metas {
		m := &metas[i]
		blob, err := normalize(nil, m.Blob)
		if err != nil {
			return invalid(pkg, "file %s: %s %q: %v", m.File, m.Schema, m.Name, err)
		}
		m.Blob = nil // the text is not needed twice
		if err := out.normal(blob); err != nil {
			return err
		}
		switch m.Schema {
		case declcfg.SchemaPackage, declcfg.SchemaChannel, declcfg.SchemaBundle, declcfg.SchemaDeprecation:
			known = append(known, &declcfg.Meta{Schema: m.Schema, Package: m.Package, Name: m.Name, Blob: blob})
		default:
			if err := checkCustom(m); err != nil {
				return err
			}
			customs[m.Schema] = append(customs[m.Schema], blob)
		}
	}
	summary, err := compileKnown(ctx, enc, pkg, known, out)
	if err != nil {
		return err
	}
	var records []record
	for schema, blobs := range customs {
		list, err := enc.customs(schema, pkg, blobs)
		if err != nil {
			return invalid(pkg, "metas of schema %s: %v", schema, err)
		}
		records = append(records, list...)
	}
	slices.SortFunc(records, func(a, b record) int { return cmp.Compare(a.key, b.key) })
	for _, r := range records {
		if err := out.custom(enc, r); err != nil {
			return err
		}
	}
	return out.write(summarySection, summary)
}

// compileKnown writes the records of bundles and returns the summary of the
// package; nil if it has custom metas only.
func compileKnown(ctx context.Context, enc encoding, pkg string, known []*declcfg.Meta, out *stateWriter) ([]byte, error) {
	if len(known) == 0 {
		return nil, nil
	}
	cfg, err := declcfg.LoadSlice(known)
	if err != nil {
		return nil, invalid(pkg, "%v", err)
	}
	bulky := takeBulky(cfg.Bundles)
	m, err := declcfg.ConvertToModel(*cfg)
	if err != nil {
		return nil, invalid(pkg, "%v", err)
	}
	p := m[pkg]
	if p == nil {
		return nil, invalid(pkg, "it has no %s", declcfg.SchemaPackage)
	}
	if err := compileBundles(ctx, enc, p, bulky, out); err != nil {
		return nil, err
	}
	summary, err := summarize(p)
	if err != nil {
		return nil, invalid(pkg, "%v", err)
	}
	return summary, nil
}

// takeBulky takes the properties that hold whole manifests out of bundles, and
// returns them by the name of the bundle. The model parses and encodes every
// property once for each channel of its bundle and again to validate it, only
// to count those of type olm.package; these hold nearly all of the text, and
// what a cache takes from them is taken from one parse later, which also
// finds what is wrong with them.
func takeBulky(bundles []declcfg.Bundle) map[string][]property.Property {
	bulky := make(map[string][]property.Property)
	for i := range bundles {
		b := &bundles[i]
		b.Properties = slices.DeleteFunc(b.Properties, func(p property.Property) bool {
			if p.Type != property.TypeCSVMetadata && p.Type != property.TypeBundleObject {
				return false
			}
			bulky[b.Name] = append(bulky[b.Name], p)
			return true
		})
	}
	return bulky
}

// compileBundles writes a record for each bundle of each channel, by key.
func compileBundles(ctx context.Context, enc encoding, p *model.Package, bulky map[string][]property.Property, out *stateWriter) error {
	type place struct {
		key    string
		bundle *model.Bundle
	}
	var places []place
	for _, ch := range p.Channels {
		for _, b := range ch.Bundles {
			key, err := enc.bundleKey(p.Name, ch.Name, b.Name)
			if err != nil {
				return invalid(p.Name, "channel %q, bundle %q: %v", ch.Name, b.Name, err)
			}
			places = append(places, place{key, b})
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.bundle.Channel.Name, b.bundle.Channel.Name))
	})
	// A bundle differs from channel to channel in a few fields only, and what
	// it has in common takes nearly all the time.
	converted := make(map[string]*api.Bundle)
	for i, at := range places {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i+1 < len(places) && places[i+1].key == at.key {
			// Names with separators in them can meet. opm keeps any of the
			// two, so we keep the last.
			continue
		}
		b := at.bundle
		common := converted[b.Name]
		if common == nil {
			var err error
			whole := *b
			whole.Properties = slices.Concat(b.Properties, bulky[b.Name])
			if common, err = api.ConvertModelBundleToAPIBundle(whole); err != nil {
				return invalid(p.Name, "bundle %q: %v", b.Name, err)
			}
			converted[b.Name] = common
		}
		common.ChannelName, common.Replaces, common.Skips, common.SkipRange = b.Channel.Name, b.Replaces, b.Skips, b.SkipRange
		value, err := enc.bundle(common)
		if err != nil {
			return invalid(p.Name, "bundle %q: %v", b.Name, err)
		}
		if err := out.bundle(enc, record{at.key, value}); err != nil {
			return err
		}
	}
	return nil
}

// The summary of a package, as opm keeps it in packages.json. Names and order
// of the keys are part of the format.
type (
	summary struct {
		Name           string      `json:"name"`
		Description    string      `json:"description"`
		Icon           *model.Icon `json:"icon"`
		DefaultChannel string      `json:"defaultChannel"`
		Channels       map[string]summaryChannel
		Deprecation    *model.Deprecation `json:"deprecation,omitempty"`
	}
	summaryChannel struct {
		Name        string
		Head        string
		Bundles     map[string]summaryBundle
		Deprecation *model.Deprecation `json:"deprecation,omitempty"`
	}
	summaryBundle struct {
		Package  string   `json:"package"`
		Channel  string   `json:"channel"`
		Name     string   `json:"name"`
		Replaces string   `json:"replaces"`
		Skips    []string `json:"skips"`
	}
)

// summarize returns a package's member of packages.json: key, colon, value.
func summarize(p *model.Package) ([]byte, error) {
	s := summary{
		Name: p.Name, Description: p.Description, Icon: p.Icon, DefaultChannel: p.DefaultChannel.Name,
		Channels: make(map[string]summaryChannel, len(p.Channels)), Deprecation: p.Deprecation,
	}
	for _, ch := range p.Channels {
		head, err := ch.Head()
		if err != nil {
			return nil, err
		}
		bundles := make(map[string]summaryBundle, len(ch.Bundles))
		for _, b := range ch.Bundles {
			bundles[b.Name] = summaryBundle{Package: p.Name, Channel: ch.Name, Name: b.Name, Replaces: b.Replaces, Skips: b.Skips}
		}
		s.Channels[ch.Name] = summaryChannel{Name: ch.Name, Head: head.Name, Bundles: bundles, Deprecation: ch.Deprecation}
	}
	value, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	key, err := json.Marshal(p.Name)
	if err != nil {
		return nil, err
	}
	return slices.Concat(key, []byte(":"), value), nil
}

// customName is what opm allows for a schema and a package in a key.
var customName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)

func checkCustom(m *tree.Meta) error {
	if !customName.MatchString(m.Schema) {
		return invalid(m.Package, "file %s: schema %q: opm's cache allows letters, digits, dots, underscores and hyphens", m.File, m.Schema)
	}
	if m.Package != "" && !customName.MatchString(m.Package) {
		return invalid(m.Package, "file %s: meta of schema %q: opm's cache allows letters, digits, dots, underscores and hyphens in a package name", m.File, m.Schema)
	}
	return nil
}

func invalid(pkg, format string, args ...any) error {
	what := "catalog package " + pkg
	if pkg == "" {
		what = "catalog metas without package"
	}
	return sdk.Errorf(sdk.Invalid, "%s: %s", what, fmt.Sprintf(format, args...))
}
