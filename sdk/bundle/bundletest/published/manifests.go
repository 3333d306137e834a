package published

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// PackageManifests returns the archive's first packages in package-manifest
// form, each with its highest versions: the contents of files by their paths.
// The one channel, stable, has the highest version at its head.
func PackageManifests(t testing.TB, packages, perPackage int) map[string]map[string]string {
	t.Helper()
	versions := make(map[string][]string)
	for b := range Bundles(t, packages) {
		versions[b.Package] = append(versions[b.Package], b.Version)
	}
	for _, list := range versions {
		slices.SortStableFunc(list, func(a, b string) int { return Compare(b, a) })
	}
	found := make(map[string]map[string]string)
	heads := make(map[string]string)
	for b := range Bundles(t, packages) {
		latest := versions[b.Package][:min(perPackage, len(versions[b.Package]))]
		if !slices.Contains(latest, b.Version) {
			continue
		}
		if found[b.Package] == nil {
			found[b.Package] = make(map[string]string)
		}
		for name, data := range b.Files {
			name, isManifest := strings.CutPrefix(name, "manifests/")
			if !isManifest {
				continue
			}
			found[b.Package][b.Version+"/"+name] = string(data)
			var csv struct {
				Kind     string
				Metadata struct{ Name string }
			}
			if b.Version == latest[0] && yaml.Unmarshal(data, &csv) == nil && csv.Kind == "ClusterServiceVersion" {
				heads[b.Package] = csv.Metadata.Name
			}
		}
	}
	for pkg, files := range found {
		files["package.yaml"] = fmt.Sprintf("packageName: %s\nchannels:\n- name: stable\n  currentCSV: %s\n", pkg, heads[pkg])
	}
	return found
}
