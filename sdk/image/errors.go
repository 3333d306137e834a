package image

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/denied"
)

// statusError is a registry's answer that is not the one hoped for.
type statusError struct {
	method string
	status int
	// codes are the registry's own, such as BLOB_UNKNOWN.
	codes   []string
	message string
	after   time.Duration
	// anonymous tells that no credentials were sent.
	anonymous bool
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("the registry answered %d %s", e.status, http.StatusText(e.status))
	if e.message != "" {
		text += ": " + e.message
	}
	return text
}

// newStatusError reads the body of an answer, up to a limit.
func newStatusError(resp *http.Response, anonymous bool) error {
	err := transport.CheckError(resp)
	var te *transport.Error
	if !errors.As(err, &te) {
		return &statusError{method: resp.Request.Method, status: resp.StatusCode, anonymous: anonymous}
	}
	e := fromTransport(te, anonymous)
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.after = time.Duration(min(seconds, 3600)) * time.Second
	}
	return e
}

func fromTransport(te *transport.Error, anonymous bool) *statusError {
	e := &statusError{status: te.StatusCode, anonymous: anonymous}
	if te.Request != nil {
		e.method = te.Request.Method
	}
	var messages []string
	for _, d := range te.Errors {
		e.codes = append(e.codes, string(d.Code))
		messages = append(messages, strings.TrimSuffix(strings.TrimSpace(string(d.Code)+" "+d.Message), "."))
	}
	e.message = printable(strings.Join(messages, "; "), 300)
	return e
}

func (e *statusError) has(codes ...string) bool {
	for _, have := range e.codes {
		for _, want := range codes {
			if have == want {
				return true
			}
		}
	}
	return false
}

// printable makes a stranger's text fit for one line of a message.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}

// plainHTTPError is a request without TLS that the access rules do not allow.
type plainHTTPError struct{ host string }

func (e *plainHTTPError) Error() string {
	return fmt.Sprintf("the connection to %s would be without TLS, which is not allowed for it", e.host)
}

var (
	errStalled   = errors.New("the registry sent nothing for too long")
	errCorrupt   = errors.New("the content does not match its digest")
	errTruncated = errors.New("the content ended early")
)

// verdict is what follows from an error: whether another attempt may help, and
// what to tell when not.
type verdict struct {
	passing bool
	after   time.Duration
	code    sdk.Code
	cause   string
}

func final(code sdk.Code, format string, args ...any) verdict {
	return verdict{code: code, cause: fmt.Sprintf(format, args...)}
}

func passing(format string, args ...any) verdict {
	return verdict{passing: true, code: sdk.Unavailable, cause: fmt.Sprintf(format, args...)}
}

// judge sorts every error that an exchange with a registry can end in. It is
// the only place that does.
func judge(err error) verdict {
	var status *statusError
	if errors.As(err, &status) {
		return judgeStatus(status)
	}
	var te *transport.Error
	if errors.As(err, &te) {
		return judgeStatus(fromTransport(te, false))
	}
	return judgeConnection(err)
}

// passes reports whether another attempt may help.
func passes(err error) bool {
	var known *sdk.Error
	return !errors.As(err, &known) && judge(err).passing
}

func judgeStatus(e *statusError) verdict {
	switch {
	case e.status == http.StatusTooManyRequests, e.status == http.StatusRequestTimeout, e.status == http.StatusTooEarly, e.status >= 500:
		v := passing("%s", e.Error())
		v.after = e.after
		return v
	case e.status == http.StatusUnauthorized, e.status == http.StatusForbidden:
		if e.anonymous {
			return final(sdk.Denied, "access denied, and no credentials are configured for it; configure some, or check the name (%d)", e.status)
		}
		return final(sdk.Denied, "access denied; check the name and that the credentials may use this repository (%d)", e.status)
	case e.has("MANIFEST_BLOB_UNKNOWN", "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID") && isWrite(e.method),
		// Seen when the registry has not yet seen its own last write.
		e.has("BLOB_UNKNOWN") && isWrite(e.method):
		return passing("%s", e.Error())
	case e.status == http.StatusPreconditionFailed:
		return final(sdk.Conflict, "somebody else has moved the tag meanwhile")
	case e.has("NAME_UNKNOWN"):
		return final(sdk.NotFound, "not found, the registry has no such repository; check the name")
	case e.status == http.StatusNotFound:
		return final(sdk.NotFound, "not found in the registry; check the name, and the tag or digest")
	}
	return final(sdk.Invalid, "%s", e.Error())
}

func isWrite(method string) bool {
	return method == http.MethodPut || method == http.MethodPatch || method == http.MethodPost
}

func judgeConnection(err error) verdict {
	var (
		refused   *denied.Error
		plain     *plainHTTPError
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &refused):
		return final(sdk.Denied, "%s", refused.Error())
	case errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &verify):
		return final(sdk.Denied, "the registry's certificate is not trusted (%s); configure the authority that signed it", printable(rootCause(err), 200))
	case errors.Is(err, http.ErrSchemeMismatch):
		return final(sdk.Denied, "the registry speaks HTTP without TLS; allow that for it in the configuration, or use one with TLS")
	case errors.As(err, &plain):
		return final(sdk.Denied, "%s", plain.Error())
	case errors.As(err, &dns) && dns.IsNotFound:
		return final(sdk.NotFound, "the registry %s has no address; check the name", printable(dns.Name, 255))
	case errors.Is(err, errStalled), errors.Is(err, errCorrupt), errors.Is(err, errTruncated):
		return passing("%s", rootCause(err))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return passing("%s", errTruncated)
	}
	return passing("%s", printable(rootCause(err), 300))
}

// rootCause drops the method and the address that net/http puts before an
// error: the subject of the message names the image already, and addresses of
// uploads carry state that is nobody's business.
func rootCause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err.Error()
	}
	return err.Error()
}
