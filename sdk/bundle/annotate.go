package bundle

import (
	"maps"
	"slices"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle/internal/yamledit"
)

// FieldPackage is the only field of a template for Annotate.
const FieldPackage = "package_name"

// Annotate sets annotations on every CSV, by name. In their templates
// {package_name} stands for the package name given.
func (b *Bundle) Annotate(annotations map[string]Template, packageName string) error {
	if len(annotations) == 0 {
		return nil
	}
	csvs, err := b.CSVs()
	if err != nil {
		return err
	}
	values := map[string]string{FieldPackage: packageName}
	texts := make(map[string]string, len(annotations))
	for name, template := range annotations {
		text, missing := template.expand(values)
		if missing != "" {
			return sdk.Errorf(sdk.Invalid, "annotation %s: {%s} stands for nothing; only {%s} does",
				name, missing, FieldPackage)
		}
		texts[name] = text
	}
	for _, c := range csvs {
		// Put takes the nodes over, so that each CSV needs its own.
		var pairs []yamledit.Pair
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			pairs = append(pairs, yamledit.Pair{Key: name, Value: yamledit.Text(texts[name])})
		}
		if err := c.annotate(pairs); err != nil {
			return err
		}
	}
	return nil
}
