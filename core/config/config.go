package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// Config is a configuration without mistakes, defaults filled in and paths
// absolute. It does not change: a reload makes another. It may be read
// concurrently.
type Config struct {
	Server        Server          `json:"server"`
	Identity      Identity        `json:"identity"`
	Access        Access          `json:"access"`
	Database      Database        `json:"database"`
	Redis         Redis           `json:"redis"`
	Secrets       Secrets         `json:"secrets"`
	Registry      Registry        `json:"registry"`
	Artifacts     Artifacts       `json:"artifacts"`
	API           API             `json:"api"`
	Tracing       Tracing         `json:"tracing"`
	Build         Build           `json:"build"`
	Queues        []*Queue        `json:"queues"` // never empty: "default" is always there
	Users         []*User         `json:"users"`
	Plugins       []*Plugin       `json:"plugins"` // the disabled ones too, in file order
	Organizations []*Organization `json:"organizations"`

	root   *node
	source source
}

// Server is the process itself.
type Server struct {
	Listen           string         `json:"listen"`
	DataDir          string         `json:"data_dir"`
	PluginDir        string         `json:"plugin_dir"`
	RequireChecksums bool           `json:"require_checksums"`
	ExternalURL      string         `json:"external_url"` // without a slash at the end; may be empty
	MaxBody          int64          `json:"max_body"`     // bytes
	Concurrency      int            `json:"concurrency"`  // 0 is no limit
	LogLevel         string         `json:"log_level"`    // debug, info, warn or error
	LogFormat        string         `json:"log_format"`   // text or json
	TrustedProxies   []netip.Prefix `json:"trusted_proxies"`
	TLS              *TLS           `json:"tls"` // nil serves plain HTTP
}

// TLS names the files of a certificate.
type TLS struct {
	CertFile string `json:"cert_file"`
	KeyFile  string `json:"key_file"`
}

// Identity is how callers are recognized. A nil method is not in use.
type Identity struct {
	// Anonymous callers may use endpoints that need a user otherwise.
	Anonymous bool              `json:"anonymous"`
	Header    *HeaderIdentity   `json:"header"`
	Kerberos  *KerberosIdentity `json:"kerberos"`
	OIDC      *OIDCIdentity     `json:"oidc"`
	Tokens    *TokensIdentity   `json:"tokens"`
}

// HeaderIdentity believes a header that a proxy sets.
type HeaderIdentity struct {
	Header string         `json:"header"`
	From   []netip.Prefix `json:"from"` // never empty
}

// KerberosIdentity accepts tickets.
type KerberosIdentity struct {
	Keytab    string `json:"keytab"`
	Principal string `json:"principal"` // may be empty
}

// OIDCIdentity accepts tokens of an OpenID Connect provider.
type OIDCIdentity struct {
	Issuer    string `json:"issuer"`
	Audience  string `json:"audience"`
	UserClaim string `json:"user_claim"`
}

// TokensIdentity accepts tokens whose hashes are in a file.
type TokensIdentity struct {
	File string `json:"file"`
}

// Access is what users may do beyond submitting requests.
type Access struct {
	Workers        []string `json:"workers"`
	Privileged     []string `json:"privileged"`
	ForceOverwrite bool     `json:"force_overwrite"`
}

// Worker reports whether the user may change requests.
func (a Access) Worker(user string) bool { return slices.Contains(a.Workers, user) }

// MayOverwrite reports whether the user may overwrite an index without a token.
func (a Access) MayOverwrite(user string) bool { return slices.Contains(a.Privileged, user) }

// Database is where requests are stored.
type Database struct {
	// URL is "sqlite:" and an absolute path, or a postgres:// URL.
	URL sdk.Secret `json:"url" show:"url"`
}

// Redis is the queue.
type Redis struct {
	// URL is empty for one inside of the process.
	URL sdk.Secret `json:"url" show:"url"`
}

// Secrets is how secrets are sealed. Exactly one of Key and KeyFile is set.
type Secrets struct {
	// Key is 32 bytes, as ParseKey reads them.
	Key     sdk.Secret `json:"key"`
	KeyFile string     `json:"key_file"`
	// MakeKey tells that KeyFile is the default one, to be made if it is not there.
	MakeKey      bool         `json:"make_key"`
	PreviousKeys []sdk.Secret `json:"previous_keys"`
}

// Registry is where images are pushed, and how registries are reached.
type Registry struct {
	// Address is empty for the engine's own.
	Address        string            `json:"address"`
	Push           string            `json:"push"`
	Output         string            `json:"output"` // may be empty
	AuthFile       string            `json:"auth_file"`
	PlainHTTP      []string          `json:"plain_http"`
	CAFiles        map[string]string `json:"ca_files"` // by registry
	DeniedNetworks []netip.Prefix    `json:"denied_networks"`
	OCI            bool              `json:"oci"`
	Quays          []*QuayAPI        `json:"quays"`
}

// QuayAPI is a registry that has Quay's API for the history of tags.
type QuayAPI struct {
	Registry  string `json:"registry"`
	URL       string `json:"url"` // without a slash at the end
	TokenFile string `json:"token_file"`
}

// Destination returns the pull spec that the result of a request is pushed to.
// The registry is Address, or what stands for it where that is empty.
func (r Registry) Destination(registry string, request int64) string {
	return strings.NewReplacer("{registry}", registry, "{request_id}", strconv.FormatInt(request, 10)).Replace(r.Push)
}

// Artifacts are the files that requests leave behind.
type Artifacts struct {
	// Dir is empty if S3 is set.
	Dir  string        `json:"dir"`
	S3   *S3           `json:"s3"`
	Keep time.Duration `json:"keep"`
	Logs bool          `json:"logs"`
	// MaxSize bounds one artifact, in bytes.
	MaxSize int64 `json:"max_size"`
}

// S3 is a bucket.
type S3 struct {
	Bucket   string `json:"bucket"`
	Region   string `json:"region"`
	Endpoint string `json:"endpoint"` // empty is that of AWS
	Prefix   string `json:"prefix"`
	// Both keys are empty where the credentials of the machine are used.
	AccessKey sdk.Secret `json:"access_key"`
	SecretKey sdk.Secret `json:"secret_key"`
	CAFile    string     `json:"ca_file"`
}

// API are limits of the API.
type API struct {
	PageSize          int           `json:"page_size"` // at most MaxPerPage
	MaxPerPage        int           `json:"max_per_page"`
	MaxWait           time.Duration `json:"max_wait"`
	RequestsPerMinute int           `json:"requests_per_minute"` // 0 is no limit
}

// Tracing is where traces go.
type Tracing struct {
	Endpoint    string `json:"endpoint"` // empty makes no traces
	ServiceName string `json:"service_name"`
}

// Build is how images are built.
type Build struct {
	// Builder is the name of an enabled plugin, or empty if there is none.
	Builder string `json:"builder"`
}

// place is what a configuration depends on besides its text.
type place struct {
	dir     string // absolute; relative paths of the file are seen from it
	plugins string // the default for plugin_dir
	// What the environment has to say, empty if nothing.
	listen, dataDir string
}

// config makes a Config of a file. It is of use only if no mistake has been or
// will be found.
func (d *decoder) config(root *node, place place) *Config {
	server := root.one("server")
	c := &Config{
		root:   root,
		source: d.source,
		Server: Server{
			Listen:           server.text("listen"),
			DataDir:          inDir(place.dir, server.text("data_dir")),
			RequireChecksums: server.flag("require_checksums"),
			ExternalURL:      strings.TrimRight(server.text("external_url"), "/"),
			MaxBody:          server.size("max_body"),
			Concurrency:      server.number("concurrency"),
			LogLevel:         server.text("log_level"),
			LogFormat:        server.text("log_format"),
			TrustedProxies:   networks(server.list("trusted_proxies")),
		},
		Identity: decodeIdentity(root.all("identity"), place),
		Access: Access{
			Workers:        root.one("access").list("workers"),
			Privileged:     root.one("access").list("privileged"),
			ForceOverwrite: root.one("access").flag("force_overwrite"),
		},
		Redis:    Redis{URL: sdk.Secret(root.one("redis").text("url"))},
		Registry: decodeRegistry(root.one("registry"), place),
		API:      decodeAPI(root.one("api")),
		Queues:   decodeQueues(root),
		Users:    decodeUsers(root),
	}
	if place.listen != "" {
		c.Server.Listen = place.listen
	}
	if place.dataDir != "" {
		c.Server.DataDir = place.dataDir
	}
	c.Server.PluginDir = place.plugins
	if server.set("plugin_dir") {
		c.Server.PluginDir = inDir(place.dir, server.text("plugin_dir"))
	}
	if server.has("tls") {
		tls := server.one("tls")
		c.Server.TLS = &TLS{
			CertFile: inDir(place.dir, tls.text("cert_file")),
			KeyFile:  inDir(place.dir, tls.text("key_file")),
		}
	}
	c.Database = decodeDatabase(root.one("database"), c.Server.DataDir)
	c.Secrets = decodeSecrets(root.one("secrets"), place, c.Server.DataDir)
	c.Artifacts = decodeArtifacts(root.one("artifacts"), place, c.Server.DataDir)
	if root.has("tracing") {
		tracing := root.one("tracing")
		c.Tracing = Tracing{Endpoint: tracing.text("endpoint"), ServiceName: tracing.text("service_name")}
	}
	c.Plugins = d.plugins(root, c.Server.PluginDir)
	c.Organizations = d.organizations(root)
	c.Build.Builder = root.one("build").text("builder")
	if c.Build.Builder == "" {
		if builders := c.PluginsOf("builder"); len(builders) > 0 {
			c.Build.Builder = builders[0].Name
		}
	}
	return c
}

func decodeIdentity(methods []*node, place place) Identity {
	id := Identity{Anonymous: len(methods) == 0}
	for _, m := range methods {
		switch m.labels[0] {
		case "none":
			id.Anonymous = true
		case "header":
			id.Header = &HeaderIdentity{Header: m.text("header"), From: networks(m.list("from"))}
		case "kerberos":
			id.Kerberos = &KerberosIdentity{Keytab: inDir(place.dir, m.text("keytab")), Principal: m.text("principal")}
		case "oidc":
			id.OIDC = &OIDCIdentity{Issuer: m.text("issuer"), Audience: m.text("audience"), UserClaim: m.text("user_claim")}
		case "tokens":
			id.Tokens = &TokensIdentity{File: inDir(place.dir, m.text("file"))}
		}
	}
	return id
}

func decodeDatabase(n *node, dataDir string) Database {
	url := n.text("url")
	if url == "" {
		url = "sqlite:iib.db"
	}
	if file, ok := strings.CutPrefix(url, "sqlite:"); ok {
		url = "sqlite:" + inDir(dataDir, file)
	}
	return Database{URL: sdk.Secret(url)}
}

func decodeSecrets(n *node, place place, dataDir string) Secrets {
	s := Secrets{Key: sdk.Secret(n.text("key"))}
	for _, k := range n.list("previous_keys") {
		s.PreviousKeys = append(s.PreviousKeys, sdk.Secret(k))
	}
	switch {
	case s.Key != "":
	case n.set("key_file"):
		s.KeyFile = inDir(place.dir, n.text("key_file"))
	default:
		s.KeyFile, s.MakeKey = inDir(dataDir, "secret.key"), true
	}
	return s
}

func decodeRegistry(n *node, place place) Registry {
	r := Registry{
		Address:        n.text("address"),
		Push:           n.text("push"),
		Output:         n.text("output"),
		PlainHTTP:      n.list("plain_http"),
		CAFiles:        n.mapping("ca_files"),
		DeniedNetworks: networks(n.list("denied_networks")),
		OCI:            n.flag("oci"),
	}
	if n.set("auth_file") {
		r.AuthFile = inDir(place.dir, n.text("auth_file"))
	}
	for _, q := range n.all("quay") {
		api := &QuayAPI{Registry: q.labels[0], URL: strings.TrimRight(q.text("url"), "/")}
		if api.URL == "" {
			api.URL = "https://" + api.Registry
		}
		if q.set("token_file") {
			api.TokenFile = inDir(place.dir, q.text("token_file"))
		}
		r.Quays = append(r.Quays, api)
	}
	for host, file := range r.CAFiles {
		r.CAFiles[host] = inDir(place.dir, file)
	}
	return r
}

func decodeArtifacts(n *node, place place, dataDir string) Artifacts {
	a := Artifacts{Keep: n.duration("keep"), Logs: n.flag("logs"), MaxSize: n.size("max_size")}
	if n.has("s3") {
		s3 := n.one("s3")
		a.S3 = &S3{
			Bucket:    s3.text("bucket"),
			Region:    s3.text("region"),
			Endpoint:  s3.text("endpoint"),
			Prefix:    s3.text("prefix"),
			AccessKey: sdk.Secret(s3.text("access_key")),
			SecretKey: sdk.Secret(s3.text("secret_key")),
		}
		if s3.set("ca_file") {
			a.S3.CAFile = inDir(place.dir, s3.text("ca_file"))
		}
		return a
	}
	a.Dir = inDir(dataDir, "artifacts")
	if n.set("dir") {
		a.Dir = inDir(place.dir, n.text("dir"))
	}
	return a
}

func decodeAPI(n *node) API {
	a := API{
		PageSize:          n.number("page_size"),
		MaxPerPage:        n.number("max_per_page"),
		MaxWait:           n.duration("max_wait"),
		RequestsPerMinute: n.number("requests_per_minute"),
	}
	a.PageSize = min(a.PageSize, a.MaxPerPage)
	return a
}

func networks(texts []string) []netip.Prefix {
	var found []netip.Prefix
	for _, t := range texts {
		if p, err := parseNetwork(t); err == nil {
			found = append(found, p)
		}
	}
	return found
}
