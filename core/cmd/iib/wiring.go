package main

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/api"
	"github.com/iib-engine/iib/core/artifact"
	"github.com/iib-engine/iib/core/bucket"
	"github.com/iib-engine/iib/core/config"
	"github.com/iib-engine/iib/core/engine"
	"github.com/iib-engine/iib/core/identity"
	"github.com/iib-engine/iib/core/images"
	"github.com/iib-engine/iib/core/plugin"
	"github.com/iib-engine/iib/core/queue"
	"github.com/iib-engine/iib/core/store"
	"github.com/iib-engine/iib/core/tags"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/host"
)

// This file turns a configuration into what each part wants of it. No part
// knows the configuration, or another part.

// loadConfig reads a configuration and shows its mistakes.
func loadConfig(path string, stderr io.Writer) (*config.Config, error) {
	c, diagnostics := config.Load(path, os.LookupEnv)
	if err := diagnostics.WriteTerminal(stderr, false); err != nil {
		return nil, err
	}
	if diagnostics.HasErrors() {
		return nil, &exitError{exitFault, fmt.Errorf("%s has mistakes", path)}
	}
	return c, nil
}

// loadKeys reads the keys that seal secrets; the default key file is made when
// it is not there.
func loadKeys(s config.Secrets) ([]store.Key, error) {
	text := s.Key.Reveal()
	if text == "" {
		data, err := os.ReadFile(s.KeyFile)
		if errors.Is(err, fs.ErrNotExist) && s.MakeKey {
			data, err = makeKey(s.KeyFile)
		}
		if err != nil {
			return nil, fmt.Errorf("read the key that seals secrets: %w", err)
		}
		text = string(data)
	}
	var keys []store.Key
	for i, encoded := range append([]string{text}, reveal(s.PreviousKeys)...) {
		bytes, err := config.ParseKey(strings.TrimSpace(encoded))
		if err != nil {
			return nil, fmt.Errorf("key %d of those that seal secrets: %w", i, err)
		}
		// The ID says which key sealed a secret, and nothing of the key.
		sum := sha256.Sum256(bytes)
		keys = append(keys, store.Key{ID: hex.EncodeToString(sum[:8]), Bytes: bytes})
	}
	return keys, nil
}

// makeKey writes a new key, readable by this user alone. When two processes do
// so at once, the first one's is used by both.
func makeKey(path string) ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key)
	text := []byte(base64.StdEncoding.EncodeToString(key) + "\n")
	temporary, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(temporary.Name())
	if _, err := temporary.Write(text); err != nil {
		return nil, err
	}
	if err := temporary.Close(); err != nil {
		return nil, err
	}
	if err := os.Link(temporary.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}

func reveal(secrets []sdk.Secret) []string {
	texts := make([]string, len(secrets))
	for i, s := range secrets {
		texts[i] = s.Reveal()
	}
	return texts
}

// engineSettings are the engine's; url is where it answers those that were not
// told of another address, and slots, if it is not 0, wins over the concurrency
// of the configuration.
func engineSettings(c *config.Config, url string, slots int) *engine.Settings {
	if c.Server.ExternalURL != "" {
		url = c.Server.ExternalURL
	}
	return &engine.Settings{
		Representation: core.Representation{BaseURL: url, Keep: c.Artifacts.Keep, Logs: c.Artifacts.Logs},
		Route:          c.QueueFor,
		Queue: func(name string) engine.QueueSettings {
			q := c.Queue(name)
			if q == nil {
				q = c.Queue(config.DefaultQueue)
			}
			return engine.QueueSettings{Timeout: q.Timeout, Attempts: q.Attempts, Serial: serial(q.Serial), Priority: q.Priority}
		},
		Slots:          cmp.Or(slots, c.Server.Concurrency),
		Privileged:     c.Access.Privileged,
		ForceOverwrite: c.Access.ForceOverwrite,
		OCI:            c.Registry.OCI,
	}
}

func serial(s config.Serial) engine.Serial {
	switch s {
	case config.SerialIndex:
		return engine.SerialIndex
	case config.SerialQueue:
		return engine.SerialQueue
	}
	return engine.SerialNone
}

func apiSettings(c *config.Config) *api.Settings {
	var queues []api.Queue
	for _, q := range c.Queues {
		queues = append(queues, api.Queue{Name: q.Name, Concurrency: q.Concurrency, Priority: q.Priority})
	}
	return &api.Settings{
		Queues:  queues,
		Workers: c.Access.Workers, MaxPage: c.API.MaxPerPage, MaxBody: c.Server.MaxBody,
		Keep: c.Artifacts.Keep, KeepLogs: c.Artifacts.Logs, ExternalURL: c.Server.ExternalURL,
		TrustedProxies: c.Server.TrustedProxies, PageSize: c.API.PageSize, MaxWait: c.API.MaxWait,
		RequestsPerMinute: c.API.RequestsPerMinute,
	}
}

// openFiles opens the place of logs and artifacts.
func openFiles(a config.Artifacts) (core.Files, error) {
	if a.S3 == nil {
		return artifact.Open(a.Dir, a.MaxSize)
	}
	return openBucket(a)
}

func openBucket(a config.Artifacts) (*bucket.Files, error) {
	return bucket.Open(bucket.Options{
		Bucket: a.S3.Bucket, Region: a.S3.Region, Endpoint: a.S3.Endpoint, Prefix: a.S3.Prefix,
		AccessKey: a.S3.AccessKey, SecretKey: a.S3.SecretKey, CAFile: a.S3.CAFile, MaxSize: a.MaxSize,
	})
}

// newIdentity opens what recognizes callers. fault is told later why a changed
// file of tokens is not in force.
func newIdentity(c *config.Config, fault func(error)) (api.Identity, error) {
	id := c.Identity
	m := &identity.Methods{Optional: id.Anonymous}
	if id.Header != nil {
		m.List = append(m.List, identity.ProxyHeader{Name: id.Header.Header, From: id.Header.From})
	}
	if id.Kerberos != nil {
		method, err := identity.NewKerberos(id.Kerberos.Keytab, id.Kerberos.Principal)
		if err != nil {
			return nil, err
		}
		m.List = append(m.List, method)
	}
	if id.Tokens != nil {
		method, err := identity.OpenTokens(id.Tokens.File, fault)
		if err != nil {
			return nil, err
		}
		m.List = append(m.List, method)
	}
	if id.OIDC != nil {
		m.List = append(m.List, identity.NewOIDC(identity.OIDCOptions{
			Issuer: id.OIDC.Issuer, Audience: id.OIDC.Audience, UserClaim: id.OIDC.UserClaim, Client: http.DefaultClient,
		}))
	}
	return m, nil
}

// ownRegistry returns the host of the engine's own registry: the address that
// it listens at, or, with TLS, the name that its certificate is for.
func ownRegistry(c *config.Config, listening string) string {
	if c.Server.TLS != nil && c.Server.ExternalURL != "" {
		if external, err := url.Parse(c.Server.ExternalURL); err == nil && external.Scheme == "https" {
			return external.Host
		}
	}
	return listening
}

// quays returns the registries with Quay's API.
func quays(c *config.Config) map[string]tags.Quay {
	found := make(map[string]tags.Quay)
	for _, q := range c.Registry.Quays {
		found[q.Registry] = tags.Quay{URL: q.URL, TokenFile: q.TokenFile, CAFile: c.Registry.CAFiles[q.Registry]}
	}
	return found
}

// imageOptions tell how registries are reached. The engine's own registry, on
// its own address, speaks what the API speaks: plain HTTP, or TLS with a
// certificate that the engine trusts, whoever has signed it.
func imageOptions(c *config.Config, own string) images.Options {
	o := images.Options{
		Registry: c.Registry.Address, Template: c.Registry.Push, Output: c.Registry.Output,
		AuthFile: c.Registry.AuthFile, PlainHTTP: c.Registry.PlainHTTP, CAFiles: c.Registry.CAFiles,
		CacheDir: filepath.Join(c.Server.DataDir, "cache", "shared"),
	}
	if o.Registry == "" {
		o.Registry = own
		if tls := c.Server.TLS; tls == nil {
			o.PlainHTTP = append([]string{own}, o.PlainHTTP...)
		} else if _, ok := o.CAFiles[own]; !ok {
			o.CAFiles = maps.Clone(o.CAFiles)
			if o.CAFiles == nil {
				o.CAFiles = make(map[string]string)
			}
			o.CAFiles[own] = tls.CertFile
		}
	}
	for _, network := range c.Registry.DeniedNetworks {
		o.DeniedNetworks = append(o.DeniedNetworks, network.String())
	}
	return o
}

// queueSpecs are the queues of these names, or all of them if there are none.
func queueSpecs(c *config.Config, names []string) []queue.Spec {
	specs := make([]queue.Spec, 0, len(c.Queues))
	for _, q := range c.Queues {
		if len(names) > 0 && !slices.Contains(names, q.Name) {
			continue
		}
		specs = append(specs, queue.Spec{Name: q.Name, Concurrency: q.Concurrency})
	}
	return specs
}

func rosterConfig(c *config.Config) plugin.Config {
	rc := plugin.Config{Builder: c.Build.Builder, Steps: make(map[string][]plugin.StepSpec)}
	for _, p := range c.Plugins {
		if !p.Enabled {
			continue
		}
		rc.Plugins = append(rc.Plugins, plugin.Spec{
			Name: p.Name, Kind: plugin.Kind(p.Kind), Path: p.Path,
			SHA256: strings.TrimPrefix(p.Checksum, "sha256:"), Requests: p.Requests, Mounts: p.Mounts,
			Timeout: p.Timeout, Attempts: p.Attempts,
			Env: environment(p.Env), Insecure: p.InsecureTransport, PassCredentials: p.PassAuthorization,
			Limits:      host.Limits{Memory: p.Limits.Memory, CPUTime: p.Limits.CPUTime, OpenFiles: p.Limits.OpenFiles},
			Fingerprint: fingerprint(p),
			Values:      func(s host.Schema) (json.RawMessage, error) { return values(&p.Body, s) },
		})
	}
	for _, o := range c.Organizations {
		var steps []plugin.StepSpec
		for _, step := range o.Steps {
			steps = append(steps, plugin.StepSpec{
				Name: step.Type, Plugin: step.Plugin,
				Values: func(s host.Schema) (json.RawMessage, error) { return values(&step.Body, s) },
			})
		}
		if o.Name == config.OtherOrganizations {
			rc.DefaultSteps = steps
			continue
		}
		rc.Steps[o.Name] = steps
	}
	return rc
}

// environment looks up the variables that a plugin may have.
func environment(names []string) map[string]string {
	env := make(map[string]string)
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
		}
	}
	return env
}

// fingerprint changes when anything in a plugin's block does, and when the
// program is another file.
func fingerprint(p *config.Plugin) string {
	print := p.Fingerprint()
	if info, err := os.Stat(p.Path); err == nil {
		print += fmt.Sprintf(" %d %d", info.Size(), info.ModTime().UnixNano())
	}
	return print
}

// values evaluates a block against the schema that a plugin describes.
func values(body *config.Body, s host.Schema) (json.RawMessage, error) {
	data, diagnostics := body.Values(configSchema(s))
	return data, diagnostics.Err()
}

// settingTypes are the configuration's words for the plugin protocol's.
var settingTypes = map[host.Type]config.Type{
	host.String: config.String, host.Bool: config.Bool, host.Int: config.Int, host.Float: config.Float,
	host.Duration: config.Duration, host.Strings: config.List, host.StringMap: config.Map, host.StringMaps: config.MapMap,
}

// configSchema turns a plugin's description into the configuration's terms.
func configSchema(s host.Schema) config.Schema {
	var out config.Schema
	for _, a := range s.Attributes {
		kind := settingTypes[a.Type]
		if a.Sensitive {
			kind = config.SecretString
		}
		out.Attributes = append(out.Attributes, config.Attribute{
			Name: a.Name, Type: kind, Required: a.Required, Doc: a.Doc, Default: string(a.Default),
		})
	}
	for _, b := range s.Blocks {
		block := config.Block{Name: b.Name, Multiple: b.Repeated, Required: b.Required, Doc: b.Doc, Schema: configSchema(b.Schema)}
		for _, label := range b.Labels {
			block.Labels = append(block.Labels, label.Name)
		}
		out.Blocks = append(out.Blocks, block)
	}
	return out
}

// hostMaker gives every plugin its own view of the engine.
type hostMaker struct {
	engine      *engine.Engine
	data, cache string
	url         string
}

func (m *hostMaker) host(name string) (sdk.Host, error) {
	h := &engine.Host{Engine: m.engine, DataDir: filepath.Join(m.data, name), CacheDir: filepath.Join(m.cache, name), URL: m.url}
	for _, dir := range []string{h.DataDir, h.CacheDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make a directory of plugin %s: %w", name, err)
		}
	}
	return h, nil
}
