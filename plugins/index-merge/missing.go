package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/blang/semver/v4"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
)

// labelOpenShift says on a bundle image which OpenShift versions it is for.
const labelOpenShift = "com.redhat.openshift.versions"

// maxNamed bounds how many bundles an error names.
const maxNamed = 10

// needDigests refuses an index that names bundles by tag: what they are, and
// whether the other index has them, would depend on the hour.
func needDigests(spec string, refs []catalog.BundleRef) error {
	var faults []string
	for _, ref := range refs {
		if digestOf(ref.Image) == "" {
			faults = append(faults, cmp.Or(ref.Image, ref.Name+" (without an image)"))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	more := ""
	if len(faults) > maxNamed {
		faults, more = faults[:maxNamed], " and others"
	}
	return sdk.Errorf(sdk.Invalid, "index %s cannot be merged: these bundles are not referenced by digest: %s%s", spec, strings.Join(faults, ", "), more)
}

// missingOf returns those of the target's bundles that the source has neither
// by digest nor by name, each once. Gone names the source's deprecated ones: it
// knows them, and they stay what they are.
func missingOf(source []catalog.BundleRef, gone map[string]bool, target []catalog.BundleRef) []catalog.BundleRef {
	digests, known := make(map[string]bool, len(source)), maps.Clone(gone)
	if known == nil {
		known = make(map[string]bool, len(source))
	}
	for _, ref := range source {
		digests[digestOf(ref.Image)], known[ref.Name] = true, true
	}
	var missing []catalog.BundleRef
	for _, ref := range target {
		digest := digestOf(ref.Image)
		if digests[digest] || known[ref.Name] {
			continue
		}
		digests[digest], known[ref.Name] = true, true
		missing = append(missing, ref)
	}
	return missing
}

// highest keeps of every package the bundle with the highest version: below it
// everything is cut off. The result is sorted by package.
func highest(refs []catalog.BundleRef) []catalog.BundleRef {
	top := make(map[string]catalog.BundleRef)
	for _, ref := range refs {
		if old, ok := top[ref.Package]; !ok || compareVersions(ref, old) > 0 {
			top[ref.Package] = ref
		}
	}
	chosen := make([]catalog.BundleRef, 0, len(top))
	for _, name := range slices.Sorted(maps.Keys(top)) {
		chosen = append(chosen, top[name])
	}
	return chosen
}

// compareVersions orders bundles of a package. A version that is none comes
// before all others, and ties are broken by name so that the order of the
// input does not count.
func compareVersions(a, b catalog.BundleRef) int {
	va, errA := semver.Parse(a.Version)
	vb, errB := semver.Parse(b.Version)
	switch {
	case errA != nil && errB != nil:
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.Name, b.Name))
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return cmp.Or(va.Compare(vb), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Name, b.Name))
}

// admits returns why a bundle with the given label may not be in an index for
// a version; nil if it may. A tolerant merge takes one without a label.
func admits(label string, version catalog.OpenShiftVersion, tolerant bool) error {
	if label == "" {
		if tolerant {
			return nil
		}
		return sdk.Errorf(sdk.Invalid, "it has no label %s", labelOpenShift)
	}
	versions, err := catalog.ParseOpenShiftRange(label)
	if err != nil {
		return err
	}
	if !versions.Admits(version) {
		return sdk.Errorf(sdk.Invalid, "its label %s=%s does not admit %s", labelOpenShift, label, version)
	}
	return nil
}

// exempt reports whether an entry of the setting no_ocp_label is the user or a
// prefix of an index.
func exempt(entries []string, user string, indexes ...string) bool {
	return slices.ContainsFunc(entries, func(entry string) bool {
		return entry == user || slices.ContainsFunc(indexes, func(spec string) bool { return strings.HasPrefix(spec, entry) })
	})
}

// digestOf returns the digest of a pull spec; empty if it has none.
func digestOf(spec string) string {
	_, digest, _ := strings.Cut(spec, "@")
	return digest
}
