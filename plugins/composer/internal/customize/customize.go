// Package customize applies the customizations of a blueprint to the tree of an
// image. It runs no program: every value is data that is judged and written
// into the one place where it belongs.
package customize

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/iib-engine/iib/plugins/composer/internal/tree"
	"github.com/iib-engine/iib/sdk"
)

// Blueprint is the table of customizations (contract section 4.1).
type Blueprint struct {
	Hostname string `json:"hostname"`
	Kernel   struct {
		Append string `json:"append"`
	} `json:"kernel"`
	SSHKeys  []SSHKey `json:"sshkey"`
	Users    []User   `json:"user"`
	Groups   []Group  `json:"group"`
	Timezone struct {
		Timezone   string   `json:"timezone"`
		NTPServers []string `json:"ntpservers"`
	} `json:"timezone"`
	Locale struct {
		Languages []string `json:"languages"`
		Keyboard  string   `json:"keyboard"`
	} `json:"locale"`
	Firewall *Firewall `json:"firewall"`
	Services struct {
		Enabled  []string `json:"enabled"`
		Disabled []string `json:"disabled"`
	} `json:"services"`
}

// SSHKey is a key for a user who is there.
type SSHKey struct {
	User string `json:"user"`
	Key  string `json:"key"`
}

// User is an account.
type User struct {
	Name        string   `json:"name"`
	Description *string  `json:"description"`
	Password    *string  `json:"password"`
	Key         string   `json:"key"`
	Home        string   `json:"home"`
	Shell       string   `json:"shell"`
	Groups      []string `json:"groups"`
	UID         *int64   `json:"uid"`
	GID         *int64   `json:"gid"`
}

// Group is a group.
type Group struct {
	Name string `json:"name"`
	GID  *int64 `json:"gid"`
}

// Firewall is what firewalld lets pass.
type Firewall struct {
	Ports    []string `json:"ports"`
	Services struct {
		Enabled  []string `json:"enabled"`
		Disabled []string `json:"disabled"`
	} `json:"services"`
}

// known are the keys of the table.
var known = map[string]bool{
	"hostname": true, "kernel": true, "sshkey": true, "user": true, "group": true,
	"timezone": true, "locale": true, "firewall": true, "services": true,
}

// Parse reads the table as a blueprint has it, and the keys that it has besides.
func Parse(table map[string]any) (*Blueprint, []string, error) {
	var b Blueprint
	wanted := make(map[string]any)
	var ignored []string
	for key, value := range table {
		if known[key] {
			wanted[key] = value
		} else {
			ignored = append(ignored, key)
		}
	}
	data, err := json.Marshal(wanted)
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(data)).Decode(&b)
	}
	if err != nil {
		return nil, nil, sdk.Errorf(sdk.Invalid, "customizations: %v", err)
	}
	b.Kernel.Append = strings.TrimSpace(b.Kernel.Append)
	if !printable(b.Kernel.Append) {
		return nil, nil, sdk.Errorf(sdk.Invalid, "customizations.kernel: append has control characters")
	}
	return &b, ignored, nil
}

// Applier applies customizations to one tree.
type Applier struct {
	Root *tree.Root
	// Epoch is the day on which passwords say that they were set.
	Epoch time.Time
	// Warn hears of what was applied but has no effect.
	Warn func(format string, args ...any)
}

// Apply applies everything, the defaults too. Its error is Invalid and names
// the customization that cannot be applied.
func (a *Applier) Apply(b *Blueprint) error {
	for _, step := range []struct {
		name string
		do   func(*Blueprint) error
	}{
		{"hostname", a.hostname}, {"user", a.accounts}, {"timezone", a.timezone}, {"locale", a.locale},
		{"services", a.services}, {"firewall", a.firewall},
	} {
		if err := step.do(b); err != nil {
			if sdk.CodeOf(err) == sdk.Internal {
				return sdk.Errorf(sdk.Internal, "customizations.%s: %w", step.name, err)
			}
			return err
		}
	}
	return nil
}

// rootFile is who files of the configuration belong to.
var rootFile = tree.Owner{Mode: 0o644}

func (a *Applier) write(name, content string) error {
	return a.Root.WriteFile(name, []byte(content), rootFile)
}

// refuse is the error for a value that cannot be applied.
func refuse(key, format string, args ...any) error {
	return sdk.Errorf(sdk.Invalid, "customizations.%s: %s", key, fmt.Sprintf(format, args...))
}

var hostnames = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$`)

func (a *Applier) hostname(b *Blueprint) error {
	if b.Hostname == "" {
		return nil
	}
	// 64 is the kernel's limit.
	if len(b.Hostname) > 64 || !hostnames.MatchString(b.Hostname) || strings.Contains(b.Hostname, "..") {
		return refuse("hostname", "%q is not a host name of at most 64 letters, digits, dots and dashes", b.Hostname)
	}
	return a.write("/etc/hostname", b.Hostname+"\n")
}

var (
	zones   = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$`)
	servers = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.:_-]*$`)
	locales = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@+-]*$`)
)

const zoneinfo = "/usr/share/zoneinfo"

func (a *Applier) timezone(b *Blueprint) error {
	zone := b.Timezone.Timezone
	if zone == "" {
		zone = "UTC"
	}
	if !zones.MatchString(zone) {
		return refuse("timezone", "%q is not the name of a time zone", zone)
	}
	if info, err := a.Root.Stat(zoneinfo + "/" + zone); err != nil || !info.Mode().IsRegular() {
		switch {
		case a.Root.Exists(zoneinfo):
			if b.Timezone.Timezone != "" {
				return refuse("timezone", "the image has no time zone %q", zone)
			}
		case b.Timezone.Timezone != "":
			a.Warn("customizations.timezone: the image has no time zones: add the package tzdata, or the clock shows UTC")
		}
	}
	if err := a.Root.Link("../usr/share/zoneinfo/"+zone, "/etc/localtime"); err != nil {
		return err
	}
	if len(b.Timezone.NTPServers) == 0 {
		return nil
	}
	var lines []string
	for _, s := range b.Timezone.NTPServers {
		if !servers.MatchString(s) {
			return refuse("timezone", "ntpservers: %q is neither a host name nor an address", s)
		}
		lines = append(lines, "server "+s+" iburst")
	}
	const file = "/etc/chrony.conf"
	old, err := a.Root.ReadFile(file)
	if err != nil {
		a.Warn("customizations.timezone: chrony is not in the image: add the package chrony, or nothing asks the time servers")
	}
	// The servers listed are the only ones.
	for line := range strings.Lines(string(old)) {
		line = strings.TrimRight(line, "\n")
		if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word != "pool" && word != "server" && word != "peer" {
			lines = append(lines, line)
		}
	}
	return a.write(file, strings.Join(lines, "\n")+"\n")
}

func (a *Applier) locale(b *Blueprint) error {
	language, keyboard := "en_US.UTF-8", "us"
	for i, l := range b.Locale.Languages {
		if !locales.MatchString(l) {
			return refuse("locale", "languages: %q is not a locale", l)
		}
		if i == 0 {
			language = l
		}
	}
	if b.Locale.Keyboard != "" {
		keyboard = b.Locale.Keyboard
	}
	if !locales.MatchString(keyboard) {
		return refuse("locale", "keyboard: %q is not a keyboard map", keyboard)
	}
	if err := a.write("/etc/locale.conf", "LANG="+language+"\n"); err != nil {
		return err
	}
	return a.write("/etc/vconsole.conf", "KEYMAP="+keyboard+"\n")
}

// printable reports whether a value stays on its line.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar
	})
}
