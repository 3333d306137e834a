package config

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Plugin is a program that the engine starts and asks.
type Plugin struct {
	Name string `json:"name"`
	// Kind is handler, gate, notifier, customizer, builder or service.
	Kind              string        `json:"kind"`
	Path              string        `json:"path"` // absolute
	Checksum          string        `json:"checksum"`
	Enabled           bool          `json:"enabled"`
	Requests          []string      `json:"requests"` // empty is all
	Mounts            []string      `json:"mounts"`
	Listeners         []Listener    `json:"listeners"`
	Timeout           time.Duration `json:"timeout"`  // 0 is none
	Attempts          int           `json:"attempts"` // of a notifier; never 0
	PassAuthorization bool          `json:"pass_authorization"`
	InsecureTransport bool          `json:"insecure_transport"`
	Env               []string      `json:"env"`
	Limits            Limits        `json:"limits"`

	// Body is the config block, empty if there is none.
	Body `json:"config"`

	node *node
}

// Listener is an address of its own that a service answers on.
type Listener struct {
	// Network is "tcp" or "unix", Address a host and port or a path.
	Network string `json:"network"`
	Address string `json:"address"`
	// Group and Mode are of a socket. Group may be empty.
	Group string `json:"group"`
	Mode  uint32 `json:"mode"`
}

// Limits bound what a plugin's process may use. 0 is no limit.
type Limits struct {
	Memory    int64         `json:"memory"` // bytes
	CPUTime   time.Duration `json:"cpu_time"`
	OpenFiles int           `json:"open_files"`
}

func decodeListener(n *node) Listener {
	l := Listener{Network: "tcp", Address: n.labels[0]}
	if socket, ok := strings.CutPrefix(l.Address, "unix:"); ok {
		mode, _ := strconv.ParseUint(n.text("mode"), 8, 32)
		l.Network, l.Address, l.Group, l.Mode = "unix", socket, n.text("group"), uint32(mode)
	}
	return l
}

// Plugin returns the plugin of a name, nil if there is none.
func (c *Config) Plugin(name string) *Plugin {
	for _, p := range c.Plugins {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// PluginsOf returns the enabled plugins of a kind, in file order.
func (c *Config) PluginsOf(kind string) []*Plugin {
	var found []*Plugin
	for _, p := range c.Plugins {
		if p.Enabled && p.Kind == kind {
			found = append(found, p)
		}
	}
	return found
}

// Concerns reports whether the plugin is to be used for a type of request.
func (p *Plugin) Concerns(requestType string) bool {
	return len(p.Requests) == 0 || slices.Contains(p.Requests, requestType)
}

// fingerprintKey keeps a fingerprint that got into a log from being used to
// try out secrets.
var fingerprintKey = sync.OnceValue(func() []byte { return []byte(rand.Text()) })

// Fingerprint changes when anything in the block does, its secrets included. It
// can be compared with others of this process. It does not depend on the file
// that Path names.
func (p *Plugin) Fingerprint() string {
	data, err := json.Marshal(plain(reflect.ValueOf(p), "", true))
	if err != nil {
		panic("config: " + err.Error())
	}
	mac := hmac.New(sha256.New, fingerprintKey())
	mac.Write(data)
	return hex.EncodeToString(mac.Sum(nil))
}

func (d *decoder) plugins(root *node, dir string) []*Plugin {
	var plugins []*Plugin
	for _, n := range root.all("plugin") {
		p := &Plugin{
			Name:              n.labels[0],
			Kind:              n.text("kind"),
			Checksum:          n.text("checksum"),
			Enabled:           n.flag("enabled"),
			Requests:          n.list("requests"),
			Mounts:            n.list("mounts"),
			Timeout:           n.duration("timeout"),
			Attempts:          n.number("attempts"),
			PassAuthorization: n.flag("pass_authorization"),
			InsecureTransport: n.flag("insecure_transport"),
			Env:               n.list("env"),
			node:              n,
		}
		p.Path = inDir(dir, p.Name)
		if n.set("path") {
			p.Path = inDir(dir, filepath.FromSlash(n.text("path")))
		}
		if n.set("mount") {
			p.Mounts = append([]string{n.text("mount")}, p.Mounts...)
		}
		for _, l := range n.all("listener") {
			p.Listeners = append(p.Listeners, decodeListener(l))
		}
		limits := n.one("limits")
		p.Limits = Limits{
			Memory:    limits.size("memory"),
			CPUTime:   limits.duration("cpu_time"),
			OpenFiles: limits.number("open_files"),
		}
		p.Body = d.body(n.one("config"), n)
		plugins = append(plugins, p)
	}
	return plugins
}
