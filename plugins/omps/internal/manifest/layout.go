package manifest

import (
	"fmt"
	"path"
	"strings"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
	"github.com/iib-engine/iib/plugins/omps/internal/intake"
)

// Operator is a package with all that belongs to it, classified.
type Operator struct {
	files intake.Files
	// pkg is the package's document.
	pkg *document
	// versions are validated each on its own. A flat operator is one.
	versions []*version
	nested   bool
}

// version is a set of manifests that is validated together.
type version struct {
	dir        string
	csvs, crds []*document
}

// Read classifies an operator's files.
func Read(files intake.Files) (*Operator, error) {
	o := &Operator{files: files}
	byDir := map[string]*version{".": {dir: "."}}
	var dirs []string
	weight := 0
	for _, name := range files.Paths() {
		dir := path.Dir(name)
		if !isYAML(name) || strings.Contains(dir, "/") {
			continue
		}
		if weight += weigh(files[name]); weight > maxWeight {
			return nil, unreadable(name, fmt.Errorf("together with those before it: %w", errMany))
		}
		d, err := parse(files[name])
		if err != nil {
			return nil, unreadable(name, err)
		}
		if dir != "." {
			d.node = nil // is packed as it is
		}
		v := byDir[dir]
		if v == nil {
			v = &version{dir: dir}
			byDir[dir] = v
			dirs = append(dirs, dir)
		}
		switch {
		case has(d.value, "packageName"):
			if dir != "." {
				continue
			}
			if o.pkg != nil {
				return nil, fault.New(fault.PackageValidation, "Only 1 package is expected in the root of the archive, and there is another one in /%s.", name)
			}
			o.pkg = d
		case d.kind() == "ClusterServiceVersion":
			v.csvs = append(v.csvs, d)
		case d.kind() == "CustomResourceDefinition":
			v.crds = append(v.crds, d)
		}
	}
	if o.pkg == nil {
		return nil, fault.New(fault.PackageValidation, "Bundle does not contain any packages.")
	}
	for _, dir := range dirs {
		if len(byDir[dir].csvs) > 0 {
			o.nested = true
			o.versions = append(o.versions, byDir[dir])
		}
	}
	if o.nested {
		return o, nil
	}
	if len(byDir["."].csvs) == 0 {
		return nil, fault.New(fault.PackageValidation, "Found neither a nested nor a flat operator: no valid CSV file is found in root or manifest directories.")
	}
	o.versions = []*version{byDir["."]}
	return o, nil
}

// Report is what validation found. Errors refuse a push, warnings do not.
type Report struct {
	Errors   []string `json:"errors"`
	Warnings []string `json:"warnings"`
}

func (r *Report) errorf(format string, args ...any) {
	r.Errors = append(r.Errors, fmt.Sprintf(format, args...))
}

func (r *Report) warnf(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}
