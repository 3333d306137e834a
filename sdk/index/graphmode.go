package index

import (
	"slices"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/params"
)

// graphModes are the modes that the catalog library knows.
var graphModes = []string{"replaces", "semver", "semver-skippatch"}

// SchemaGraphMode is the JSON Schema of graph_update_mode.
var SchemaGraphMode = raw(`{"type":["string","null"],"enum":["replaces","semver","semver-skippatch",null]}`)

// GraphModes returns the modes in force: those configured, or all.
func GraphModes(configured []string) []string {
	if len(configured) == 0 {
		return graphModes
	}
	return configured
}

// CheckGraphModes checks the setting graph_modes.
func CheckGraphModes(configured []string) error {
	for _, mode := range configured {
		if !slices.Contains(graphModes, mode) {
			return sdk.FieldErrorf("graph_modes", "graph_modes: %q is unknown: use %s", mode, strings.Join(graphModes, ", "))
		}
	}
	return nil
}

// CheckGraphMode judges a graph_update_mode (contract, section 2.12): the mode
// must be one of those allowed, and the index that the parameter field names,
// with or without its tag, one of indexes.
func CheckGraphMode(mode string, modes []string, o params.Object, field string, indexes []string) error {
	if !slices.Contains(modes, mode) {
		return sdk.FieldErrorf("graph_update_mode", "graph_update_mode %q is unknown: use %s", mode, strings.Join(modes, ", "))
	}
	var spec string
	if !o.Empty(field) {
		var err error
		if spec, err = o.Text(field); err != nil {
			return err
		}
	}
	if spec == "" {
		return deniedField("graph_update_mode", "graph_update_mode may be used for listed indexes only, and the request names none in %s", field)
	}
	if slices.Contains(indexes, spec) || slices.Contains(indexes, repository(spec)) {
		return nil
	}
	return deniedField("graph_update_mode", "graph_update_mode may not be used for %s %s: it is not on this server's list", field, spec)
}
