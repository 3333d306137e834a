package catalog

import "strings"

// Presence tells how a candidate was found among the bundles of a catalog.
type Presence struct {
	// Candidate is the pull spec asked about, Present the one in the catalog.
	Candidate, Present string
}

// Elsewhere reports whether the catalog names the same image in another
// registry or repository. That deserves a warning: what it says about the
// bundle may come from another copy.
func (p Presence) Elsewhere() bool { return p.Candidate != p.Present }

// Absent returns those of the candidates, in their order, that the catalog
// does not have, and how the others were found. Candidates are pull specs by
// digest. Bundles that the catalog names by tag are never found: what an add
// makes of them is decided by their names.
func Absent(candidates []string, present []BundleRef) (absent []string, found []Presence) {
	bySpec := map[string]bool{}
	byDigest := map[string]string{}
	for _, b := range present {
		if digest := digestOf(b.Image); digest != "" {
			bySpec[b.Image] = true
			if _, ok := byDigest[digest]; !ok {
				byDigest[digest] = b.Image
			}
		}
	}
	for _, c := range candidates {
		if bySpec[c] {
			found = append(found, Presence{c, c})
			continue
		}
		if image, ok := byDigest[digestOf(c)]; ok {
			found = append(found, Presence{c, image})
			continue
		}
		absent = append(absent, c)
	}
	return absent, found
}

// digestOf returns the digest of a pull spec, or "" if it has none.
func digestOf(image string) string {
	_, digest, ok := strings.Cut(image, "@")
	if !ok {
		return ""
	}
	return digest
}
