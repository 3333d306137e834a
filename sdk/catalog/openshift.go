package catalog

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// OpenShiftVersion is a version such as v4.17, as indexes carry it in their
// label com.redhat.index.delivery.version.
type OpenShiftVersion struct{ Major, Minor int }

var openShiftVersion = regexp.MustCompile(`^v?([0-9]{1,6})\.([0-9]{1,6})$`)

// ParseOpenShiftVersion reads a version; the v in front is optional.
func ParseOpenShiftVersion(s string) (OpenShiftVersion, error) {
	m := openShiftVersion.FindStringSubmatch(s)
	if m == nil {
		return OpenShiftVersion{}, sdk.Errorf(sdk.Invalid, "%q is not an OpenShift version; it should look like v4.17", s)
	}
	major, _ := strconv.Atoi(m[1]) // at most six digits
	minor, _ := strconv.Atoi(m[2])
	return OpenShiftVersion{major, minor}, nil
}

// Compare orders versions by number: 4.10 is above 4.9.
func (v OpenShiftVersion) Compare(w OpenShiftVersion) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor))
}

// String returns the version with a v in front.
func (v OpenShiftVersion) String() string {
	return "v" + strconv.Itoa(v.Major) + "." + strconv.Itoa(v.Minor)
}

// OpenShiftRange is the meaning of a bundle's label
// com.redhat.openshift.versions. The zero value admits nothing.
type OpenShiftRange struct{ spans []span }

// span is a range with both ends included; unbounded has no upper end.
type span struct {
	from, to  OpenShiftVersion
	unbounded bool
}

// ParseOpenShiftRange reads the label. A label that has none of the five known
// forms is an error; what carries it is to be treated as admitted nowhere. A
// lone ">=v4.10" is such a label: it is only known as an alternative.
func ParseOpenShiftRange(label string) (OpenShiftRange, error) {
	var r OpenShiftRange
	var err error
	switch {
	case strings.Contains(label, "|"):
		for alternative := range strings.SplitSeq(label, "|") {
			var s span
			if from, ok := strings.CutPrefix(alternative, ">="); ok {
				s, err = atLeast(from)
			} else if only, ok := strings.CutPrefix(alternative, "="); ok {
				s, err = exactly(only)
			} else {
				err = sdk.Errorf(sdk.Invalid, "the alternative %q begins with neither = nor >=", alternative)
			}
			if err != nil {
				break
			}
			r.spans = append(r.spans, s)
		}
	case strings.HasPrefix(label, "="):
		err = r.add(exactly(label[1:]))
	case strings.Contains(label, "-"):
		from, to, _ := strings.Cut(label, "-")
		err = r.add(between(from, to))
	case strings.Contains(label, ","):
		var all []OpenShiftVersion
		for part := range strings.SplitSeq(label, ",") {
			var v OpenShiftVersion
			if v, err = parseTrimmed(part); err != nil {
				break
			}
			all = append(all, v)
		}
		if err == nil {
			// A list has no upper end: it is read as "since".
			r.spans = []span{{from: slices.MinFunc(all, OpenShiftVersion.Compare), unbounded: true}}
		}
	default:
		err = r.add(atLeast(label))
	}
	if err != nil {
		return OpenShiftRange{}, sdk.Errorf(sdk.Invalid, "the label com.redhat.openshift.versions has the value %q, which cannot be understood: %v", label, err)
	}
	return r, nil
}

func (r *OpenShiftRange) add(s span, err error) error {
	r.spans = append(r.spans, s)
	return err
}

func parseTrimmed(s string) (OpenShiftVersion, error) {
	return ParseOpenShiftVersion(strings.TrimSpace(s))
}

func exactly(s string) (span, error) {
	v, err := parseTrimmed(s)
	return span{from: v, to: v}, err
}

func atLeast(s string) (span, error) {
	v, err := parseTrimmed(s)
	return span{from: v, unbounded: true}, err
}

func between(from, to string) (span, error) {
	low, err := parseTrimmed(from)
	if err != nil {
		return span{}, err
	}
	high, err := parseTrimmed(to)
	return span{from: low, to: high}, err
}

// Admits reports whether a bundle with the label may be in an index for v.
func (r OpenShiftRange) Admits(v OpenShiftVersion) bool {
	return slices.ContainsFunc(r.spans, func(s span) bool {
		return v.Compare(s.from) >= 0 && (s.unbounded || v.Compare(s.to) <= 0)
	})
}
