package wire

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

// maxErrorText bounds an error's message: it travels in an HTTP/2 trailer,
// which peers limit.
const maxErrorText = 32 << 10

var codeTable = []struct {
	sdk  sdk.Code
	wire pb.Code
	grpc codes.Code
}{
	{sdk.Invalid, pb.Code_CODE_INVALID, codes.InvalidArgument},
	{sdk.Denied, pb.Code_CODE_DENIED, codes.PermissionDenied},
	{sdk.NotFound, pb.Code_CODE_NOT_FOUND, codes.NotFound},
	{sdk.Conflict, pb.Code_CODE_CONFLICT, codes.Aborted},
	{sdk.Unavailable, pb.Code_CODE_UNAVAILABLE, codes.Unavailable},
	{sdk.Internal, pb.Code_CODE_INTERNAL, codes.Internal},
}

// encodeError returns err as a gRPC status. An error that only tells of an
// ended context keeps that meaning.
func encodeError(err error) error {
	if err == nil {
		return nil
	}
	detail := encodeDetail(err)
	code := codes.Internal
	for _, row := range codeTable {
		if row.wire == detail.Code {
			code = row.grpc
		}
	}
	if _, coded := errors.AsType[*sdk.Error](err); !coded {
		switch {
		case errors.Is(err, context.Canceled):
			code = codes.Canceled
		case errors.Is(err, context.DeadlineExceeded):
			code = codes.DeadlineExceeded
		}
	}
	s, withErr := status.New(code, clean(detail.Message, 1<<10)).WithDetails(detail)
	if withErr != nil {
		return status.Error(code, detail.Message)
	}
	return s.Err()
}

// encodeDetail returns what travels of an error: the whole text, and the code,
// reason and field of the outermost *sdk.Error in its chain.
func encodeDetail(err error) *pb.Error {
	detail := &pb.Error{Code: pb.Code_CODE_INTERNAL, Message: clean(err.Error(), maxErrorText)}
	e, coded := errors.AsType[*sdk.Error](err)
	if !coded {
		return detail
	}
	detail.Reason, detail.Field = clean(e.Reason, 1<<10), clean(e.Field, 1<<10)
	for _, row := range codeTable {
		if row.sdk == e.Code {
			detail.Code = row.wire
		}
	}
	return detail
}

// encodeProblems takes apart what errors.Join has put together.
func encodeProblems(err error) []*pb.Error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []*pb.Error{encodeDetail(err)}
	}
	var problems []*pb.Error
	for _, e := range joined.Unwrap() {
		problems = append(problems, encodeProblems(e)...)
	}
	return problems
}

// decodeProblems is the reverse: nil for none, and one is itself.
func decodeProblems(problems []*pb.Error) error {
	if len(problems) == 1 {
		return decodeDetail(problems[0])
	}
	var errs []error
	for _, p := range problems {
		errs = append(errs, decodeDetail(p))
	}
	return errors.Join(errs...)
}

// decodeError returns what a call's error means on this side. peer names the
// side that was called.
func decodeError(ctx context.Context, peer, method string, err error) error {
	s := status.Convert(err)
	for _, d := range s.Details() {
		if detail, ok := d.(*pb.Error); ok {
			return decodeCoded(s.Code(), detail)
		}
	}
	call := peer + ": " + path.Base(method)
	text := s.Message()
	if end := endOf(ctx); end != nil {
		return &ended{fmt.Sprintf("%s: %v", call, end), end}
	}
	switch s.Code() {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded: // not by this side's context
		lost := sdk.Errorf(sdk.Unavailable, "%s: no answer: %s", call, text)
		lost.Reason = sdk.ReasonNoAnswer
		return lost
	case codes.ResourceExhausted:
		return sdk.Errorf(sdk.Invalid, "%s: %s; a message may have %d MiB", call, text, MaxMessage>>20)
	case codes.Unimplemented:
		return sdk.Errorf(sdk.Internal, "%s: the other side does not have it", call)
	case codes.InvalidArgument, codes.OutOfRange:
		return sdk.Errorf(sdk.Invalid, "%s", text)
	case codes.PermissionDenied, codes.Unauthenticated:
		return sdk.Errorf(sdk.Denied, "%s", text)
	case codes.NotFound:
		return sdk.Errorf(sdk.NotFound, "%s", text)
	case codes.AlreadyExists, codes.Aborted, codes.FailedPrecondition:
		return sdk.Errorf(sdk.Conflict, "%s", text)
	}
	return sdk.Errorf(sdk.Internal, "%s: %s", call, text)
}

// endOf returns why a context has ended, or nil. On a busy machine the timer of a
// deadline may run after the other side has noticed it and said so.
func endOf(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// decodeCoded returns an error that the other side has encoded.
func decodeCoded(code codes.Code, detail *pb.Error) error {
	switch code {
	case codes.Canceled:
		return &ended{detail.Message, context.Canceled}
	case codes.DeadlineExceeded:
		return &ended{detail.Message, context.DeadlineExceeded}
	}
	return decodeDetail(detail)
}

func decodeDetail(detail *pb.Error) error {
	e := &sdk.Error{
		Code:    sdk.Internal,
		Message: clean(detail.Message, maxErrorText),
		Reason:  clean(detail.Reason, 1<<10),
		Field:   clean(detail.Field, 1<<10),
	}
	for _, row := range codeTable {
		if row.wire == detail.Code {
			e.Code = row.sdk
		}
	}
	return e
}

// ended is an error that errors.Is takes for one of a context.
type ended struct {
	text string
	err  error
}

func (e *ended) Error() string { return e.text }
func (e *ended) Unwrap() error { return e.err }

// clean makes s valid UTF-8, as protobuf demands of strings, and bounds it.
func clean(s string, most int) string {
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = fmt.Sprintf("%s… (%d bytes left out)", s[:cut], len(s)-cut)
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
