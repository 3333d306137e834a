// Package git runs the git program on the repositories of strangers: it asks
// nobody, runs nothing that an address names, and has no way out but a gateway.
package git

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/iib-engine/iib/plugins/composer/internal/gateway"
	"github.com/iib-engine/iib/plugins/composer/internal/process"
	"github.com/iib-engine/iib/sdk"
)

// settings keep git from asking anybody, from running anything, and from caring
// who owns a repository on this host; archives are the same each time.
const settings = `[safe]
	directory = *
[credential]
	helper =
[core]
	askPass = true
	hooksPath = /dev/null
	fsmonitor = false
[tar]
	umask = 0022
`

// Git is for one repository.
type Git struct {
	// Address is what git has to be told instead of the repository's own.
	Address string

	dir     string
	env     []string
	gateway *gateway.Gateway
	pass    *gateway.Pass
}

// Open prepares git for a repository, in a directory that must be there. The
// user closes it.
func Open(way gateway.Way, dir, repo string) (*Git, error) {
	protocols, host, port, err := destination(repo)
	if err != nil {
		return nil, err
	}
	out, err := gateway.Open(way.Rule)
	if err != nil {
		return nil, err
	}
	g := &Git{Address: repo, dir: dir, gateway: out, pass: out.Admit(gateway.Route{})}
	config := filepath.Join(dir, "gitconfig")
	g.env = []string{
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + config, "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=" + protocols,
	}
	text := settings + fmt.Sprintf("[http]\n\tproxy = %s\n\tproxyAuthMethod = basic\n", g.pass.URL())
	if way.CAFile != "" {
		text += fmt.Sprintf("\tsslCAInfo = %q\n", way.CAFile)
	}
	err = os.WriteFile(config, []byte(text), 0o600)
	if err != nil {
		err = sdk.Errorf(sdk.Internal, "prepare git: %w", err)
	} else if host != "" {
		err = g.tunnel(protocols, host, port)
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Close ends git's way out.
func (g *Git) Close() { g.gateway.Close() }

// Fault is why git could not reach what it wanted to, or nil.
func (g *Git) Fault() *sdk.Error { return g.pass.Fault() }

// Command is git with these arguments.
func (g *Git) Command(args ...string) process.Command {
	return process.Command{Program: "git", Args: args, Dir: g.dir, Env: g.env}
}

// tunnel leads protocols that know no proxy through the gateway.
func (g *Git) tunnel(protocol, host, port string) error {
	address, err := g.pass.Tunnel(net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	at, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return sdk.Errorf(sdk.Internal, "prepare git: %w", err)
	}
	if protocol == "git" {
		u, err := url.Parse(g.Address)
		if err != nil {
			return sdk.Errorf(sdk.Internal, "prepare git: %w", err)
		}
		// The server may have several hosts.
		g.env = append(g.env, "GIT_OVERRIDE_VIRTUAL_HOST="+u.Host)
		u.Host = at.String()
		g.Address = u.String()
		return nil
	}
	alias := host // what the host's key is known by
	if port != ports["ssh"] {
		alias = "[" + host + "]:" + port
	}
	// The command goes through a shell; destination has judged the host.
	g.env = append(g.env, fmt.Sprintf("GIT_SSH_COMMAND=ssh -oBatchMode=yes -oProxyCommand=none -oControlPath=none -oHostName=%s -oPort=%d '-oHostKeyAlias=%s'",
		at.Addr(), at.Port(), alias))
	return nil
}

// ports are the usual ones of the protocols that need a tunnel.
var ports = map[string]string{"git": "9418", "ssh": "22"}

var (
	hostName   = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._-]*\z`)
	portNumber = regexp.MustCompile(`\A[0-9]{1,5}\z`)
)

// destination tells what git may speak for an address, and which host it leads
// to if that needs a tunnel. It reads addresses as git does; if it ever errs,
// git finds its protocol forbidden.
func destination(repo string) (protocols, host, port string, err error) {
	scheme, _, isURL := strings.Cut(repo, "://")
	colon, slash := strings.IndexByte(repo, ':'), strings.IndexByte(repo, '/')
	switch {
	case isURL && (scheme == "http" || scheme == "https"):
		return "http:https", "", "", nil
	case isURL && scheme == "file":
		return "file", "", "", nil
	case isURL && (scheme == "git" || scheme == "ssh" || scheme == "git+ssh" || scheme == "ssh+git"):
		u, err := url.Parse(repo)
		if err != nil {
			return "", "", "", sdk.Errorf(sdk.Invalid, "%q is not an address of a repository", repo)
		}
		protocols, host, port = "ssh", u.Hostname(), u.Port()
		if scheme == "git" {
			protocols = "git"
		}
	case isURL, colon >= 0 && strings.HasPrefix(repo[colon:], "::"):
		return "", "", "", sdk.Errorf(sdk.Invalid, "%q is an address of a kind that is not cloned: use http, https, git, ssh or file", repo)
	case colon < 0 || slash >= 0 && slash < colon:
		return "file", "", "", nil
	default: // user@host:path
		protocols, host = "ssh", repo[:colon]
		host = host[strings.LastIndexByte(host, '@')+1:]
	}
	if port == "" {
		port = ports[protocols]
	}
	if _, err := netip.ParseAddr(host); err != nil && !hostName.MatchString(host) || !portNumber.MatchString(port) || strings.Contains(host, "%") {
		return "", "", "", sdk.Errorf(sdk.Invalid, "%q does not name a host to clone from", repo)
	}
	return protocols, host, port, nil
}
