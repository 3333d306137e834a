// Package fault names the errors that clients of the Weldr API tell apart.
package fault

import (
	"errors"
	"fmt"

	"github.com/iib-engine/iib/sdk"
)

// The error ids (contract section 2). They travel as the reason of an error.
const (
	HTTPError         = "HTTPError"
	BadComposeType    = "BadComposeType"
	BadLimitOrOffset  = "BadLimitOrOffset"
	BlueprintsError   = "BlueprintsError"
	BuildFailed       = "BuildFailed"
	BuildInWrongState = "BuildInWrongState"
	BuildMissingFile  = "BuildMissingFile"
	ComposeError      = "ComposeError"
	DistroError       = "DistroError"
	InvalidChars      = "InvalidChars"
	MissingPost       = "MissingPost"
	ModulesError      = "ModulesError"
	ProjectsError     = "ProjectsError"
	SystemSource      = "SystemSource"
	UnknownBlueprint  = "UnknownBlueprint"
	UnknownCommit     = "UnknownCommit"
	UnknownModule     = "UnknownModule"
	UnknownProject    = "UnknownProject"
	UnknownSource     = "UnknownSource"
	UnknownUUID       = "UnknownUUID"
	UploadError       = "UploadError"
)

// New returns an Invalid error with an id.
func New(id, format string, args ...any) *sdk.Error {
	err := sdk.Errorf(sdk.Invalid, format, args...)
	err.Reason = id
	return err
}

// As gives an error the id that it has at this place. Its code and text stay,
// except that before is put in front of the text.
func As(id string, err error, before string) *sdk.Error {
	return &sdk.Error{Code: sdk.CodeOf(err), Message: before + err.Error(), Reason: id}
}

// Is tells whether an error has an id.
func Is(err error, id string) bool { return sdk.ReasonOf(err) == id }

// ID returns the id of an error, or the given one if it has none.
func ID(err error, otherwise string) string {
	var e *sdk.Error
	if errors.As(err, &e) && e.Reason != "" && e.Reason != sdk.ReasonNoAnswer {
		return e.Reason
	}
	return otherwise
}

// Many are several errors of one request.
type Many []*sdk.Error

func (m Many) Error() string {
	text := ""
	for i, e := range m {
		if i > 0 {
			text += "\n"
		}
		text += e.Message
	}
	return text
}

// One returns them as one error with the id of the first, or nil for none.
func (m Many) One() error {
	if len(m) == 0 {
		return nil
	}
	return New(m[0].Reason, "%s", fmt.Sprint(m.Error()))
}
