package catalog

import (
	"errors"
	"fmt"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// describe puts what an error is about in front of it and keeps its code.
func describe(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	about := fmt.Sprintf(format, args...)
	var coded *sdk.Error
	if errors.As(err, &coded) {
		out := sdk.Errorf(coded.Code, "%s: %w", about, err)
		out.Reason, out.Field = coded.Reason, coded.Field
		return out
	}
	return fmt.Errorf("%s: %w", about, err)
}

// oneLine returns an error's text without line breaks: parsers quote source.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
