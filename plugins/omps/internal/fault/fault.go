// Package fault is how a call of the push service fails: a status, an error ID
// that clients compare, and a message (push service contract, section 3).
package fault

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Fault is an error of a call. Its ID decides the status.
type Fault struct {
	Status  int
	ID      string
	Message string
	// Extra are members beside the envelope's own, such as validation_info.
	Extra map[string]any
}

func (f *Fault) Error() string { return f.Message }

// The error IDs, with the status that goes with each.
const (
	UploadedFile          = "OMPSUploadedFileError"
	ExpectedFile          = "OMPSExpectedFileError"
	InvalidVersion        = "OMPSInvalidVersionFormat"
	AuthorizationRequired = "OMPSAuthorizationHeaderRequired"
	PackageValidation     = "PackageValidationError"
	NotAnOperator         = "KojiNotAnOperatorImage"
	BuildNotFound         = "KojiNVRBuildNotFound"
	ArchiveNotFound       = "KojiManifestsArchiveNotFound"
	Koji                  = "KojiError"
	GreenwaveUnsatisfied  = "GreenwaveUnsatisfiedError"
	Greenwave             = "GreenwaveError"
	QuayAuthorization     = "QuayAuthorizationError"
	PackageNotFound       = "QuayPackageNotFound"
	Courier               = "QuayCourierError"
	QuayPackage           = "QuayPackageError"
	BadRequest            = "BadRequest"
	NotFound              = "NotFound"
	MethodNotAllowed      = "MethodNotAllowed"
	TooLarge              = "RequestEntityTooLarge"
	Internal              = "InternalServerError"
)

var statuses = map[string]int{
	UploadedFile: http.StatusBadRequest, ExpectedFile: http.StatusBadRequest, InvalidVersion: http.StatusBadRequest,
	PackageValidation: http.StatusBadRequest, NotAnOperator: http.StatusBadRequest, GreenwaveUnsatisfied: http.StatusBadRequest,
	BadRequest:            http.StatusBadRequest,
	AuthorizationRequired: http.StatusForbidden, QuayAuthorization: http.StatusForbidden,
	PackageNotFound: http.StatusNotFound, BuildNotFound: http.StatusNotFound, NotFound: http.StatusNotFound,
	MethodNotAllowed: http.StatusMethodNotAllowed, TooLarge: http.StatusRequestEntityTooLarge,
	ArchiveNotFound: http.StatusInternalServerError, Koji: http.StatusInternalServerError, Courier: http.StatusInternalServerError,
	QuayPackage: http.StatusInternalServerError, Greenwave: http.StatusInternalServerError, Internal: http.StatusInternalServerError,
}

// New returns a fault of an ID.
func New(id, format string, args ...any) *Fault {
	f := &Fault{Status: statuses[id], ID: id, Message: fmt.Sprintf(format, args...)}
	switch id {
	case PackageValidation:
		f.Extra = map[string]any{"validation_info": struct{}{}}
	case QuayAuthorization, Courier:
		f.Extra = map[string]any{"quay_response": struct{}{}}
	case Greenwave, GreenwaveUnsatisfied:
		f.Extra = map[string]any{"greenwave_response": struct{}{}}
	}
	return f
}

// With adds a member to the envelope and returns the fault.
func (f *Fault) With(name string, value any) *Fault {
	if f.Extra == nil {
		f.Extra = make(map[string]any)
	}
	f.Extra[name] = value
	return f
}

// Response is what a service answered, for the members that show it: an object
// as it is, anything else as an empty one.
func Response(body []byte) any {
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil || object == nil {
		return struct{}{}
	}
	return object
}

// MarshalJSON writes the envelope.
func (f *Fault) MarshalJSON() ([]byte, error) {
	envelope := map[string]any{"status": f.Status, "error": f.ID, "message": f.Message}
	for name, value := range f.Extra {
		envelope[name] = value
	}
	return json.Marshal(envelope)
}
