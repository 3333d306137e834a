package bucket

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/iib-engine/iib/sdk"
)

// unavailable is a fault of the bucket that concerns a request. All of them may
// pass: keys are exchanged, and buckets made, while the engine runs.
func (f *Files) unavailable(doing string, request int64, err error) error {
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			return sdk.Errorf(sdk.Unavailable, "%s of request %d: %w", doing, request, ended)
		}
	}
	return sdk.Errorf(sdk.Unavailable, "%s of request %d: %s", doing, request, f.text(err))
}

// text is an error in words, without the keys: some services repeat what they
// were sent.
func (f *Files) text(err error) string {
	text := err.Error()
	if code := minio.ToErrorResponse(err).Code; code != "" && !strings.Contains(text, code) {
		text += " (" + code + ")"
	}
	for _, key := range []string{f.accessKey, f.secretKey} {
		if key != "" {
			text = strings.ReplaceAll(text, key, "[key]")
		}
	}
	return text
}

func status(err error) int {
	var response minio.ErrorResponse
	if errors.As(err, &response) {
		return response.StatusCode
	}
	return 0
}

// notFound tells whether an object is not there. A bucket that is not there is
// another matter.
func notFound(err error) bool {
	return status(err) == http.StatusNotFound && minio.ToErrorResponse(err).Code != minio.NoSuchBucket
}

// refused tells whether a condition of a write was not met, or another write was
// on its way.
func refused(err error) bool {
	return status(err) == http.StatusPreconditionFailed || status(err) == http.StatusConflict
}

// beyond tells whether a read would have begun at or after the end.
func beyond(err error) bool { return status(err) == http.StatusRequestedRangeNotSatisfiable }
