package config

import (
	"net"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// check reports mistakes that show only when blocks are seen together.
func (d *decoder) check(root *node, c *Config) {
	names := map[string]names{"queue": namesOf(root, "queue"), "plugin": namesOf(root, "plugin")}
	root.walk(func(n *node) {
		d.checkLabel(n)
		d.checkReferences(n, names)
	})
	d.checkServer(root)
	d.checkExposure(root, c)
	d.checkStorage(root)
	d.checkQueues(root)
	d.checkPlugins(root)
	d.checkMounts(root, c)
	d.checkBuilder(root)
	d.checkCustomizers(root)
}

// checkLabel applies the rule for a block's first label.
func (d *decoder) checkLabel(n *node) {
	f := n.block.labelForm
	if f == nil || len(n.labels) == 0 || n.labelRanges[0] == n.header {
		return
	}
	if err := f.check(n.labels[0]); err != nil {
		reason := ""
		if err != errForm {
			reason = ": " + err.Error()
		}
		d.errorf(n.labelRanges[0], f.summary(), "%s is not %s%s. %s", quote(n.labels[0]), f.is, reason, f.advice)
	}
}

// names are those of all blocks of a kind.
type names struct {
	all []string // without repetitions
	has map[string]bool
}

func namesOf(root *node, kind string) names {
	n := names{has: make(map[string]bool)}
	add := func(name string) {
		if name != "" && !n.has[name] {
			n.all = append(n.all, name)
			n.has[name] = true
		}
	}
	for _, b := range root.all(kind) {
		add(b.labels[0])
	}
	if kind == "queue" {
		add(DefaultQueue)
	}
	return n
}

// checkReferences reports names of queues and plugins that do not exist.
func (d *decoder) checkReferences(n *node, names map[string]names) {
	for _, s := range n.settings {
		kind := s.attr.refers
		if kind == "" || s.value.AsString() == "" {
			continue
		}
		name, there := s.value.AsString(), names[kind]
		switch {
		case there.has[name]:
		case s.secret():
			d.errorf(s.at, "Unknown "+kind, "%s names no %s of this file.%s", sentence(s.subject()), kind, known("", there.all))
		default:
			d.errorf(s.at, "Unknown "+kind, "There is no %s %s.%s", kind, quote(name), known(name, there.all))
		}
	}
}

func (d *decoder) checkServer(root *node) {
	api := root.one("api")
	if api.set("page_size") && api.number("page_size") > api.number("max_per_page") {
		d.errorf(api.at("page_size"), "Conflicting settings",
			"%s is more than max_per_page. Raise max_per_page.", api.settings["page_size"].subject())
	}
	server := root.one("server")
	if host, _, _ := strings.Cut(server.text("external_url"), "://"); host == "http" && server.has("tls") {
		d.warnf(server.at("external_url"), "Plain external URL",
			"The server speaks TLS, but external_url begins with http. Write https.")
	}
}

// checkExposure warns when everybody in the network may submit requests.
func (d *decoder) checkExposure(root *node, c *Config) {
	host, _, err := net.SplitHostPort(c.Server.Listen)
	if err != nil || !c.Identity.Anonymous || host == "localhost" {
		return
	}
	if address, err := netip.ParseAddr(host); err == nil && address.IsLoopback() {
		return
	}
	at := root.one("server").at("listen")
	for _, n := range root.all("identity") {
		if n.labels[0] == "none" {
			at = n.header
		}
	}
	d.warnf(at, "Open to everybody",
		"The engine does not only listen on this machine, and whoever reaches it may submit requests without being recognized. Use another identity block, or listen on a loopback address.")
}

// checkQueues reports request types that go to two queues.
func (d *decoder) checkQueues(root *node) {
	queues := make(map[string]string)
	for _, n := range root.all("queue") {
		s := n.settings["requests"]
		if s == nil {
			continue
		}
		for i, t := range n.list("requests") {
			if other, taken := queues[t]; taken {
				d.errorf(s.element(i), "Conflicting settings",
					"Requests of the type %s go to the queue %s already. Remove the type from one of them.", quote(t), quote(other))
				continue
			}
			queues[t] = n.labels[0]
		}
	}
}

// checkStorage reports settings of which only one may be used.
func (d *decoder) checkStorage(root *node) {
	secrets := root.one("secrets")
	if secrets.set("key") && secrets.set("key_file") {
		d.errorf(secrets.at("key_file"), "Conflicting settings",
			"There is both a key and a key_file. Remove one of them.")
	}
	if s := secrets.settings["key"]; s != nil && s.origin == "" && secrets.set("key") {
		d.warnf(s.at, "Key in the file",
			`Everybody who can read this file can read the key. Use env("NAME") or file("PATH").`)
	}
	if artifacts := root.one("artifacts"); artifacts.set("dir") && artifacts.has("s3") {
		d.errorf(artifacts.at("dir"), "Conflicting settings",
			"Artifacts are kept in a directory or in a bucket, not in both. Remove dir or the s3 block.")
	}
	for _, s3 := range root.one("artifacts").all("s3") {
		for _, pair := range [][2]string{{"access_key", "secret_key"}, {"secret_key", "access_key"}} {
			if s3.set(pair[0]) && !s3.set(pair[1]) {
				d.errorf(s3.at(pair[0]), "Half a key", "There is %s without %s. Write both, or none to use the credentials of the machine.",
					pair[0], pair[1])
			}
		}
	}
}

// onlyFor are the settings and blocks of a plugin that have a meaning for some
// kinds only.
var onlyFor = []struct {
	name  string
	kinds []string
}{
	{"requests", []string{"handler", "gate", "notifier"}},
	{"attempts", []string{"notifier"}},
	{"mount", []string{"service"}},
	{"mounts", []string{"service"}},
	{"listener", []string{"service"}},
	{"pass_authorization", []string{"service"}},
	{"timeout", []string{"gate", "notifier", "customizer", "builder", "service"}},
}

func (d *decoder) checkPlugins(root *node) {
	required := root.one("server").flag("require_checksums")
	for _, n := range root.all("plugin") {
		kind := n.text("kind")
		for _, only := range onlyFor {
			at, written := n.at(only.name), false
			if n.block.attribute(only.name) != nil {
				written = n.set(only.name)
			} else if blocks := n.all(only.name); len(blocks) > 0 {
				at, written = blocks[0].header, true
			}
			if written && kind != "" && !slices.Contains(only.kinds, kind) {
				d.errorf(at, "Useless setting", "%s has no meaning for a plugin of kind %s, only for %s. Remove it.",
					quote(only.name), quote(kind), alternatives(only.kinds))
			}
		}
		if !n.flag("enabled") {
			continue
		}
		if required && n.settings["checksum"] == nil && n.body.Attributes["checksum"] == nil {
			d.errorf(n.header, "Missing checksum",
				"%s has no checksum, and the server block demands one. Add checksum = \"sha256:...\".", sentence(n.title()))
		}
		if kind == "service" && !n.set("mount") && !n.set("mounts") && !n.has("listener") &&
			n.body.Attributes["mount"] == nil && n.body.Attributes["mounts"] == nil {
			d.errorf(n.header, "Missing mount",
				"%s is a service, but answers nowhere. Add mount = \"/%s/\" or a listener block.", sentence(n.title()), n.labels[0])
		}
	}
	for _, n := range root.all("plugin") {
		d.checkPluginPath(n)
		d.checkListeners(n)
	}
}

// checkPluginPath reports a relative path that leads out of the plugin
// directory.
func (d *decoder) checkPluginPath(n *node) {
	s := n.settings["path"]
	if s == nil || !n.set("path") {
		return
	}
	text := n.text("path")
	if path.IsAbs(text) || filepath.IsAbs(text) || filepath.IsLocal(filepath.FromSlash(text)) {
		return
	}
	d.errorf(s.at, "Path outside of the plugin directory",
		"%s leads out of the plugin directory. Write an absolute path if that is meant.", s.subject())
}

func (d *decoder) checkListeners(n *node) {
	for _, l := range n.all("listener") {
		if strings.HasPrefix(l.labels[0], "unix:") {
			continue
		}
		for _, name := range []string{"group", "mode"} {
			if l.set(name) {
				d.errorf(l.at(name), "Useless setting", "%s is for sockets, and %s is none. Remove it.",
					quote(name), quote(l.labels[0]))
			}
		}
	}
}

// checkMounts reports paths and addresses that two services answer on.
func (d *decoder) checkMounts(root *node, c *Config) {
	mounts := make(map[string]string)
	addresses := map[string]string{c.Server.Listen: "the server itself"}
	for _, n := range root.all("plugin") {
		if !n.flag("enabled") {
			continue
		}
		claim := func(taken map[string]string, what, key, shown string, at hcl.Range) {
			if other, ok := taken[key]; ok {
				d.errorf(at, "Duplicate "+what, "%s is taken by %s already. Choose another, or disable one of the two.",
					sentence(shown), other)
				return
			}
			taken[key] = n.title()
		}
		if n.set("mount") {
			m := n.text("mount")
			claim(mounts, "mount", m, n.shown("mount", m), n.at("mount"))
		}
		for i, m := range n.list("mounts") {
			claim(mounts, "mount", m, n.shown("mounts", m), n.settings["mounts"].element(i))
		}
		for _, l := range n.all("listener") {
			claim(addresses, "address", l.labels[0], quote(l.labels[0]), l.header)
		}
	}
}

func (d *decoder) checkBuilder(root *node) {
	build := root.one("build")
	name := build.text("builder")
	var builders []string
	for _, n := range root.all("plugin") {
		usable := n.text("kind") == "builder" && n.flag("enabled")
		if usable {
			builders = append(builders, n.labels[0])
		}
		if name != "" && n.labels[0] == name && !usable && n.text("kind") != "" {
			d.errorf(build.at("builder"), "Unusable builder",
				"%s is not an enabled plugin of kind \"builder\".%s", sentence(build.shown("builder", name)), known("", builders))
		}
	}
	if name == "" && len(builders) > 1 {
		at := root.header
		if root.has("build") {
			at = build.header
		}
		d.errorf(at, "Ambiguous builder",
			"There are several builders. Add build { builder = %s }, or disable all but one.", alternatives(builders))
	}
}

// checkCustomizers reports steps that no plugin can do, as far as that can be
// told before the plugins run.
func (d *decoder) checkCustomizers(root *node) {
	usable := false
	unusable := make(map[string]bool)
	for _, n := range root.all("plugin") {
		kind := n.text("kind") // empty if it is wrong, and who knows what was meant
		if (kind == "customizer" || kind == "") && n.flag("enabled") {
			usable = true
		} else {
			unusable[n.labels[0]] = true
		}
	}
	for _, o := range root.all("organization") {
		if steps := o.all("customize"); len(steps) > 0 && !usable {
			d.errorf(o.header, "Missing customizer",
				"%s has steps, but there is no enabled plugin of kind \"customizer\". Add one, or remove the block.", sentence(o.title()))
			continue
		}
		for _, step := range o.all("customize") {
			if name := step.text("plugin"); unusable[name] {
				d.errorf(step.at("plugin"), "Unusable customizer",
					"%s is not an enabled plugin of kind \"customizer\". Name another, or leave the setting out.",
					sentence(step.shown("plugin", name)))
			}
		}
	}
}
