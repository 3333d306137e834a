package manifest

import (
	"encoding/json"
	"strings"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
)

// Validate judges an operator that is to be pushed to a repository (push
// service contract, section 12.3). Errors come back as a fault that shows the
// report.
func (o *Operator) Validate(repository string) (*Report, error) {
	r := &Report{Errors: []string{}, Warnings: []string{}}
	for _, v := range o.versions {
		o.validatePackage(r, v, repository)
		crds := make(map[string][]any)
		for _, crd := range v.crds {
			validateCRD(r, crd.value)
			name, _ := member(crd.value, "metadata", "name").(string)
			crds[name] = append(crds[name], crd.value)
		}
		for _, csv := range v.csvs {
			validateCSV(r, csv.value, crds)
		}
	}
	if len(r.Errors) > 0 {
		return r, fault.New(fault.PackageValidation, "Failed to push manifest: bundle is invalid; see validation_info for %d errors.", len(r.Errors)).With("validation_info", r)
	}
	return r, nil
}

func (o *Operator) validatePackage(r *Report, v *version, repository string) {
	pkg := o.pkg.value
	name, isText := member(pkg, "packageName").(string)
	if !isText {
		r.errorf("packageName is not a text.")
	} else if name != repository {
		r.errorf("The packageName %q is not the repository %q that is pushed to.", name, repository)
	}
	channels, isList := member(pkg, "channels").([]any)
	if !isList || len(channels) == 0 {
		r.errorf("The package has no channels.")
		return
	}
	known := make(map[any]bool)
	for _, csv := range v.csvs {
		if name, ok := member(csv.value, "metadata", "name").(string); ok {
			known[name] = true
		}
	}
	for i, channel := range channels {
		if !isMapping(channel) {
			r.errorf("Channel %d of the package is not a mapping.", i)
			continue
		}
		if !has(channel, "name") {
			r.errorf("Channel %d of the package has no name.", i)
		}
		if !has(channel, "currentCSV") {
			r.errorf("Channel %d of the package has no currentCSV.", i)
			continue
		}
		current, ok := member(channel, "currentCSV").(string)
		if !o.nested && (!ok || !known[current]) {
			r.errorf("The currentCSV %v of channel %v is not the name of a CSV in the bundle.", member(channel, "currentCSV"), member(channel, "name"))
		}
	}
}

// wanted reports the first key of a path that is missing.
func wanted(r *Report, what string, value any, keys ...string) (any, bool) {
	for i, key := range keys {
		if !has(value, key) {
			r.errorf("%s has no %s.", what, strings.Join(keys[:i+1], "."))
			return nil, false
		}
		value = member(value, key)
	}
	return value, true
}

func called(kind string, value any) string {
	if name, ok := member(value, "metadata", "name").(string); ok {
		return kind + " " + name
	}
	return "A " + kind
}

func validateCSV(r *Report, csv any, crds map[string][]any) {
	what := called("CSV", csv)
	if metadata, ok := wanted(r, what, csv, "metadata"); ok {
		if _, ok := wanted(r, what, csv, "metadata", "name"); ok && !isText(member(metadata, "name")) {
			r.errorf("%s: metadata.name is not a text.", what)
		}
		validateAnnotations(r, what, metadata)
	}
	wanted(r, what, csv, "apiVersion")
	spec, ok := wanted(r, what, csv, "spec")
	if !ok {
		return
	}
	for _, key := range []string{"displayName", "description", "icon", "version", "provider", "maturity"} {
		if !has(spec, key) {
			r.warnf("%s has no spec.%s.", what, key)
		}
	}
	wanted(r, what, csv, "spec", "installModes")
	if _, ok := wanted(r, what, csv, "spec", "install"); ok {
		validateInstall(r, what, csv)
	}
	if section := member(spec, "customresourcedefinitions"); section != nil {
		if !isMapping(section) {
			r.errorf("%s: spec.customresourcedefinitions is not a mapping.", what)
			return
		}
		validateOwned(r, what, member(section, "owned"), crds)
	}
}

func isText(value any) bool { _, ok := value.(string); return ok }
func isList(value any) bool { _, ok := value.([]any); return ok }

func validateAnnotations(r *Report, what string, metadata any) {
	annotations := member(metadata, "annotations")
	if annotations == nil {
		r.warnf("%s has no metadata.annotations.", what)
		return
	}
	if !isMapping(annotations) {
		r.errorf("%s: metadata.annotations is not a mapping.", what)
		return
	}
	for _, key := range []string{"categories", "description", "containerImage", "createdAt", "support", "certified"} {
		if !has(annotations, key) {
			r.warnf("%s has no metadata.annotations.%s.", what, key)
		}
	}
	if has(annotations, "certified") && !isText(member(annotations, "certified")) {
		r.errorf("%s: metadata.annotations.certified is not a text.", what)
	}
	if has(annotations, "alm-examples") {
		if text, ok := member(annotations, "alm-examples").(string); !ok || !json.Valid([]byte(text)) {
			r.errorf("%s: metadata.annotations.alm-examples is not valid JSON.", what)
		}
	}
}

func validateInstall(r *Report, what string, csv any) {
	if strategy, ok := wanted(r, what, csv, "spec", "install", "strategy"); ok && strategy != "deployment" {
		r.errorf("%s: spec.install.strategy is not deployment.", what)
	}
	spec, ok := wanted(r, what, csv, "spec", "install", "spec")
	if !ok {
		return
	}
	if deployments, ok := wanted(r, what, csv, "spec", "install", "spec", "deployments"); ok && !isList(deployments) {
		r.errorf("%s: spec.install.spec.deployments is not a list.", what)
	}
	for _, key := range []string{"permissions", "clusterPermissions"} {
		if has(spec, key) && !isList(member(spec, key)) {
			r.errorf("%s: spec.install.spec.%s is not a list.", what, key)
		}
	}
}

// validateOwned compares what a CSV says it owns with the CRDs beside it.
func validateOwned(r *Report, what string, owned any, crds map[string][]any) {
	if owned == nil {
		return
	}
	entries, ok := owned.([]any)
	if !ok {
		r.errorf("%s: spec.customresourcedefinitions.owned is not a list.", what)
		return
	}
	for i, entry := range entries {
		whole := true
		for _, key := range []string{"name", "kind", "version"} {
			if !has(entry, key) {
				r.errorf("%s: owned CRD %d has no %s.", what, i, key)
				whole = false
			}
		}
		if !whole {
			continue
		}
		name, _ := member(entry, "name").(string)
		found := crds[name]
		if len(found) == 0 {
			r.errorf("%s: the owned CRD %v is not in the bundle.", what, member(entry, "name"))
			continue
		}
		validateEntry(r, what, name, entry, found)
	}
}

func validateEntry(r *Report, what, name string, entry any, found []any) {
	kind, version := member(entry, "kind"), member(entry, "version")
	single, hasSingle := false, false
	for _, crd := range found {
		spec := member(crd, "spec")
		if got := member(spec, "names", "kind"); !same(got, kind) {
			r.errorf("%s: the owned CRD %s has the kind %v in the CSV and %v in the CRD.", what, name, kind, got)
		}
		if versions, ok := member(spec, "versions").([]any); ok {
			listed := false
			for _, v := range versions {
				listed = listed || same(member(v, "name"), version)
			}
			if !listed {
				r.errorf("%s: the CRD %s does not list the version %v of the CSV.", what, name, version)
			}
		}
		if has(spec, "version") {
			hasSingle = true
			single = single || same(member(spec, "version"), version)
		}
		plural, _ := member(spec, "names", "plural").(string)
		group, _ := member(spec, "group").(string)
		if plural+"."+group != name {
			r.errorf("%s: the owned CRD %s is called %s.%s by its plural and group.", what, name, plural, group)
		}
	}
	if hasSingle && !single {
		r.errorf("%s: no CRD %s has the version %v of the CSV.", what, name, version)
	}
}

// same compares scalars; what cannot be compared is never the same.
func same(a, b any) bool {
	text, ok := a.(string)
	other, okToo := b.(string)
	return ok && okToo && text == other
}

func validateCRD(r *Report, crd any) {
	what := called("CRD", crd)
	wanted(r, what, crd, "metadata", "name")
	wanted(r, what, crd, "apiVersion")
	spec, ok := wanted(r, what, crd, "spec")
	if !ok {
		return
	}
	if _, ok := wanted(r, what, crd, "spec", "names"); ok {
		wanted(r, what, crd, "spec", "names", "kind")
		wanted(r, what, crd, "spec", "names", "plural")
	}
	wanted(r, what, crd, "spec", "group")
	if !has(spec, "versions") {
		if !has(spec, "version") {
			r.errorf("%s has neither spec.version nor spec.versions.", what)
		}
		return
	}
	versions, ok := member(spec, "versions").([]any)
	if !ok || len(versions) == 0 {
		r.errorf("%s: spec.versions is empty or not a list.", what)
		return
	}
	stored := 0
	for i, v := range versions {
		for _, key := range []string{"name", "served", "storage"} {
			if !has(v, key) {
				r.errorf("%s: spec.versions[%d] has no %s.", what, i, key)
			}
		}
		if storage, _ := member(v, "storage").(bool); storage {
			stored++
		}
	}
	if stored != 1 {
		r.errorf("%s: %d of spec.versions have storage: true, and exactly one must.", what, stored)
	}
	if first := member(versions[0], "name"); has(spec, "version") && !same(member(spec, "version"), first) {
		r.warnf("%s: spec.version is not the first of spec.versions.", what)
	}
}
