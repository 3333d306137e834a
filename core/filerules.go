package core

import (
	"regexp"

	"github.com/iib-engine/iib/sdk"
)

// This file has the rules that every implementation of Files keeps.

var artifactNames = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// CheckArtifactName refuses, as Invalid, what could not be a part of a file's
// or an object's name everywhere.
func CheckArtifactName(name string) error {
	if !artifactNames.MatchString(name) {
		return sdk.Errorf(sdk.Invalid, "%q cannot be an artifact's name: use up to 64 lower-case letters, digits, '_' and '-'", name)
	}
	return nil
}

// MaxLog bounds one request's log, in bytes: what a plugin says in a loop must not fill
// the disk.
const MaxLog = 64 << 20

// cutOff is the last line of a log that has grown too long.
const cutOff = "\nThe log has reached its limit; the rest was dropped.\n"

// LogRoom is how many bytes a log may still grow by, negative when the log says
// that it stopped.
type LogRoom int64

// Take returns what of p is written to the log, nothing if it has stopped, and
// counts it. It never changes p.
func (r *LogRoom) Take(p []byte) []byte {
	if *r < 0 {
		return nil
	}
	if int64(len(p)) > int64(*r) {
		p = append(p[:*r:*r], cutOff...)
	}
	*r -= LogRoom(len(p))
	return p
}
