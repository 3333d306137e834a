package config

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// form is a rule for a text that means something: a duration, an address.
type form struct {
	// name is what the reference calls the type.
	name string
	// is completes "timeout is not ...".
	is string
	// advice is a sentence with an example.
	advice string
	// check returns what is wrong with the text beyond not being of the form,
	// or errForm where there is nothing more to say.
	check func(string) error
}

var errForm = errors.New("malformed")

// quoting is an error that repeats a part of the text.
type quoting string

func (q quoting) Error() string { return string(q) }

func (f *form) summary() string { return "Invalid " + f.name }

func asError[T any](parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		_, err := parse(s)
		return err
	}
}

func matching(pattern string) func(string) error {
	re := regexp.MustCompile(`^(?:` + pattern + `)$`)
	return func(s string) error {
		if !re.MatchString(s) {
			return errForm
		}
		return nil
	}
}

var (
	durationForm = &form{
		name: "duration", is: "a duration",
		advice: `Write numbers with units, such as "90s", "2h30m" or "3d".`,
		check:  asError(parseDuration),
	}
	positiveForm = &form{
		name: "duration", is: "a duration above zero", advice: durationForm.advice,
		check: func(s string) error {
			if d, err := parseDuration(s); err != nil || d <= 0 {
				return errForm
			}
			return nil
		},
	}
	sizeForm = &form{
		name: "size", is: "a size",
		advice: `Write a number of bytes, or a number with a unit, such as "512KiB" or "10MiB".`,
		check:  asError(parseSize),
	}
	addressForm = &form{
		name: "address", is: "an address to listen on",
		advice: `Write a host and a port, such as "127.0.0.1:8080", or ":8080" for every interface.`,
		check:  checkAddress,
	}
	listenerForm = &form{
		name: "address", is: "an address to listen on",
		advice: `Write a host and a port, such as "127.0.0.1:8081", or a socket, such as "unix:/run/iib/api.sock".`,
		check: func(s string) error {
			if socket, ok := strings.CutPrefix(s, "unix:"); ok {
				if !path.IsAbs(socket) || strings.HasSuffix(socket, "/") {
					return errors.New("a socket's path begins with a slash and names a file")
				}
				return nil
			}
			return checkAddress(s)
		},
	}
	networkForm = &form{
		name: "network", is: "a network in CIDR form",
		advice: `Write an address and a prefix length, such as "10.0.0.0/8" or "fd00::/8"; "192.0.2.7/32" is one host.`,
		check:  asError(parseNetwork),
	}
	webForm = &form{
		name: "URL", is: "an http or https URL",
		advice: `Write it whole, such as "https://iib.example.com".`,
		check:  checkWeb,
	}
	databaseForm = &form{
		name: "database URL", is: "the URL of a database",
		advice: `Write "sqlite:FILE" or "postgres://USER:PASSWORD@HOST/DATABASE".`,
		check:  checkDatabase,
	}
	redisForm = &form{
		name: "Redis URL", is: "the URL of a Redis",
		advice: `Write "redis://HOST:6379/0", "rediss://..." for TLS, ` +
			`"redis-sentinel://HOST:26379,HOST:26379?master=NAME" or "redis-cluster://HOST:6379,HOST:6379".`,
		check: checkRedis,
	}
	checksumForm = &form{
		name: "checksum", is: "a SHA-256 checksum",
		advice: `Write "sha256:" and 64 hexadecimal digits; sha256sum prints them.`,
		check:  matching(`sha256:[0-9a-f]{64}`),
	}
	mountForm = &form{
		name: "mount", is: "a path to mount a service on",
		advice: `Write a path that begins and ends with a slash, such as "/status/".`,
		check:  checkMount,
	}
	nameForm = &form{
		name: "name", is: "a name",
		advice: `Write letters, digits, hyphens and underscores, beginning with a letter or digit.`,
		check:  matching(`[A-Za-z0-9][A-Za-z0-9_-]{0,62}`),
	}
	variableForm = &form{
		name: "variable name", is: "the name of an environment variable",
		advice: `Write letters, digits and underscores, such as "HTTPS_PROXY", without a value.`,
		check:  matching(`[A-Za-z_][A-Za-z0-9_]*`),
	}
	headerForm = &form{
		name: "header name", is: "the name of a request header",
		advice: `Write letters, digits and hyphens, such as "X-Remote-User".`,
		check: func(s string) error {
			switch strings.ToLower(s) {
			case "authorization", "cookie", "host", "x-iib-user", "content-type", "content-length":
				return errors.New("this header has another meaning already")
			}
			return matching("[!#$%&'*+.^_`|~0-9A-Za-z-]+")(s)
		},
	}
	principalForm = &form{
		name: "principal", is: "a service principal",
		advice: `Write "HTTP/HOST@REALM".`,
		check:  matching(`[^/@\s]+/[^/@\s]+@[^/@\s]+`),
	}
	hostForm = &form{
		name: "registry host", is: "the host of a registry",
		advice: `Write a host, with a port if it is not the usual one, such as "registry.example.com:5000".`,
		check:  checkHost,
	}
	registryForm = &form{
		name: "registry address", is: "the address of a registry",
		advice: `Write a host and, if needed, a namespace, such as "quay.io/example".`,
		check: func(s string) error {
			host, repository, deeper := strings.Cut(s, "/")
			if err := checkHost(host); err != nil {
				return err
			}
			if deeper {
				return matching(`[a-z0-9]+(?:[._/-]+[a-z0-9]+)*`)(repository)
			}
			return nil
		},
	}
	pushForm = &form{
		name: "template", is: "a template for a pull spec",
		advice: `Write a pull spec in which {registry} and {request_id} stand for the parts that vary, such as "{registry}/iib-build:{request_id}".`,
		check:  checkPush,
	}
	keyForm = &form{
		name: "key", is: "a key",
		advice: `Write 32 random bytes in base64 or hexadecimal; "openssl rand -base64 32" makes some.`,
		check:  asError(ParseKey),
	}
	pathForm = &form{
		name: "path", is: "a path", advice: `Write the path of a file or directory.`,
		check: func(s string) error {
			if s == "" || strings.ContainsRune(s, 0) {
				return errForm
			}
			return nil
		},
	}
	modeForm = &form{
		name: "file mode", is: "the mode of a socket",
		advice: `Write three octal digits after a zero, such as "0660".`,
		check:  matching(`0[0-7]{3}`),
	}
	userForm = &form{
		name: "user name", is: "a user's name", advice: `Write it as it is authenticated, such as "jane@EXAMPLE.COM".`,
		check: checkLine,
	}
	organizationForm = &form{
		name: "organization", is: "an organization's name",
		advice: `Write what requests have in "organization", or "*" for all others.`,
		check:  checkLine,
	}
	pullSpecForm = &form{
		name: "pull spec", is: "a pull spec",
		advice: `Write it as requests do, such as "registry.example.com/ns/index:v4.16".`,
		check:  matching(`[^\s/]+(?:/[^\s/]+)*`),
	}
	requestForm = &form{
		name: "request type", is: "a request type",
		advice: `Write the last part of its endpoint, such as "add" or "regenerate-bundle".`,
		check:  matching(`[a-z0-9]+(?:[_-][a-z0-9]+)*`),
	}
	bucketForm = &form{
		name: "bucket", is: "the name of a bucket",
		advice: `Write lower-case letters, digits, dots and hyphens.`,
		check:  matching(`[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]`),
	}
)

// checkLine accepts any text that has something in it and fits on a line.
func checkLine(s string) error {
	if strings.TrimSpace(s) != s || s == "" || printable(s) != s {
		return errForm
	}
	return nil
}

// parseDuration is time.ParseDuration with days, which are 24 hours.
func parseDuration(s string) (time.Duration, error) {
	var days time.Duration
	rest := s
	if number, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, errForm
		}
		days = time.Duration(n) * 24 * time.Hour
		if rest = after; rest == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > math.MaxInt64-days {
		return 0, errForm
	}
	return days + d, nil
}

// sizeUnits are the factors of the units, by their names in lower case.
var sizeUnits = map[string]int64{
	"": 1, "b": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

// parseSize returns a number of bytes.
func parseSize(s string) (int64, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	factor, ok := sizeUnits[strings.ToLower(strings.TrimSpace(s[digits:]))]
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if !ok || err != nil || n > math.MaxInt64/factor {
		return 0, errForm
	}
	return n * factor, nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errForm
	}
	if p != p.Masked() {
		return netip.Prefix{}, quoting("the network of that length begins with " + p.Masked().Addr().String())
	}
	return p, nil
}

func checkAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errForm
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("the port is a number up to 65535")
	}
	if strings.ContainsAny(host, "/ @") {
		return errForm
	}
	return nil
}

func checkWeb(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return errForm
	case u.User != nil:
		return errors.New("it must not have a user or password in it")
	case u.RawQuery != "", u.Fragment != "":
		return errors.New("it must not have a query or fragment in it")
	}
	return nil
}

func checkDatabase(s string) error {
	if file, ok := strings.CutPrefix(s, "sqlite:"); ok {
		if file == "" || strings.ContainsAny(file, "?#\x00") || strings.HasPrefix(file, "//") && !strings.HasPrefix(file, "///") {
			return errors.New("after the scheme comes the path of a file and nothing else")
		}
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Scheme != "postgres" && u.Scheme != "postgresql":
		return errForm
	case strings.Trim(u.Path, "/") == "":
		return errors.New("the name of the database is missing")
	}
	return nil
}

func checkRedis(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return errForm
	}
	switch u.Scheme {
	case "redis", "rediss", "redis-cluster", "rediss-cluster":
		if u.Host == "" {
			return errForm
		}
	case "redis-sentinel":
		if u.Host == "" {
			return errForm
		}
		if u.Query().Get("master") == "" {
			return errors.New("it does not name the master that the sentinels watch")
		}
	case "redis-socket":
		if u.Path == "" {
			return errForm
		}
	default:
		return errForm
	}
	return nil
}

// reservedMounts are the engine's own paths. A service may be mounted beside
// them, and below /api/v1/ on a name that the engine does not use.
var reservedMounts = []string{
	"/api/v1/builds/", "/api/v1/batches/", "/api/v1/events/", "/api/v1/healthcheck/",
	"/healthcheck/", "/livez/", "/readyz/", "/metrics/", "/events/", "/openapi.json/", "/docs/",
}

func checkMount(s string) error {
	if !strings.HasPrefix(s, "/") || s == "//" || path.Clean(s)+"/" != s || strings.ContainsAny(s, "?#%{}*\\ ") || printable(s) != s {
		return errForm
	}
	for _, r := range reservedMounts {
		if strings.HasPrefix(s, r) {
			return errors.New("the path belongs to the engine itself")
		}
	}
	if s == "/api/" || s == "/api/v1/" {
		return errors.New("the engine's own paths are below it")
	}
	return nil
}

var hostPattern = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?$`)

func checkHost(s string) error {
	m := hostPattern.FindStringSubmatch(s)
	switch {
	case m == nil:
		return errForm
	case m[1] != "":
		if _, err := strconv.ParseUint(m[1], 10, 16); err != nil {
			return errors.New("the port is a number up to 65535")
		}
	}
	return nil
}

var (
	placeholder     = regexp.MustCompile(`\{[^{}]*\}`)
	placeholders    = []string{"registry", "request_id"}
	filledPushSpec  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	exampleExpander = strings.NewReplacer("{registry}", "registry.example.com:5000", "{request_id}", "1")
)

func checkPush(s string) error {
	for _, p := range placeholder.FindAllString(s, -1) {
		name := strings.Trim(p, "{}")
		if name != "registry" && name != "request_id" {
			return quoting(fmt.Sprintf("there is no placeholder %s%s", printable(p), aside(didYouMean(name, placeholders))))
		}
	}
	if !strings.Contains(s, "{request_id}") {
		return errors.New("without {request_id} every request would overwrite the one before")
	}
	if !filledPushSpec.MatchString(exampleExpander.Replace(s)) {
		return errForm
	}
	return nil
}

// ParseKey reads a key of 32 bytes in base64, with or without padding, or in
// hexadecimal. Space around it is ignored.
func ParseKey(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString,
		base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(s); err == nil && len(key) == 32 {
			return key, nil
		}
	}
	return nil, errForm
}
