package blueprint

import (
	"math/big"
	"regexp"
)

// The grammar is that of https://semver.org, with its own expression taken apart.
var version = regexp.MustCompile(`\A(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?\z`)

func isVersion(s string) bool { return len(s) < 256 && version.MatchString(s) }

// Next returns the version to store of a blueprint that was sent with one, when
// the stored one is old; either may be empty for none.
func Next(sent, old string) string {
	switch {
	case sent == "" && old == "":
		return "0.0.1"
	case old == "", sent != "" && sent != old:
		return sent
	}
	return bump(old)
}

// bump is the next patch; that of a pre-release is its release.
func bump(old string) string {
	parts := version.FindStringSubmatch(old)
	if parts == nil {
		return "0.0.1" // nobody could have stored it through the API
	}
	patch, _ := new(big.Int).SetString(parts[3], 10)
	if parts[4] == "" {
		patch.Add(patch, big.NewInt(1))
	}
	return parts[1] + "." + parts[2] + "." + patch.String()
}
