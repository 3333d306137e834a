package host

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/wire"
)

// handshakeForm recognises go-plugin's line among other output.
var handshakeForm = regexp.MustCompile(`^[0-9]+\|[0-9]+\|`)

// maxHandshake bounds the line; a certificate makes it about a kilobyte.
const maxHandshake = 16 << 10

// readHandshake hands go-plugin the one line that it wants, if it is a good
// one, and everything else to the log. go-plugin would take the first line for
// the handshake, whatever it is, and trusts what it says.
func (p *process) readHandshake(stdout io.Reader, to io.Writer) {
	r := bufio.NewReaderSize(stdout, maxHandshake)
	for {
		chunk, err := r.ReadSlice('\n')
		line := strings.TrimRight(string(chunk), "\r\n")
		if err == nil && handshakeForm.MatchString(line) {
			checked, err := p.checkHandshake(line)
			if err != nil {
				p.refuse(err)
				return
			}
			p.tell(func(s *story) { s.handshook = true })
			fmt.Fprintln(to, checked)
			break
		}
		if line != "" {
			p.out.line("stdout", line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
	p.out.copy("stdout", r)
}

// checkHandshake returns the line with the parts that go-plugin may see.
func (p *process) checkHandshake(line string) (string, error) {
	parts := strings.Split(line, "|")
	part := func(i int) string {
		if i < len(parts) {
			return parts[i]
		}
		return ""
	}
	if part(0) != fmt.Sprint(goplugin.CoreProtocolVersion) {
		return "", sdk.Errorf(sdk.Invalid, "it speaks version %q of the go-plugin protocol, not %d", part(0), goplugin.CoreProtocolVersion)
	}
	if part(1) != fmt.Sprint(wire.Handshake.ProtocolVersion) {
		return "", sdk.Errorf(sdk.Invalid, "it speaks version %s of the plugin protocol and this engine version %d: build it with the engine's SDK",
			part(1), wire.Handshake.ProtocolVersion)
	}
	if part(4) != string(goplugin.ProtocolGRPC) {
		return "", sdk.Errorf(sdk.Invalid, "it speaks %q, not gRPC", part(4))
	}
	if err := p.inside(part(2), part(3)); err != nil {
		return "", err
	}
	certificate := part(5)
	switch {
	case p.command.Insecure:
		certificate = "" // go-plugin would dereference a nil TLS configuration
	case len(certificate) <= 50:
		return "", sdk.Errorf(sdk.Invalid, "it offers no mutual TLS: have it answer PLUGIN_CLIENT_CERT, or allow it to do without in the configuration")
	}
	return strings.Join([]string{part(0), part(1), part(2), part(3), part(4), certificate}, "|"), nil
}
