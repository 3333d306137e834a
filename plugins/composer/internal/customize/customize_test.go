package customize

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/rpmtest"
	"github.com/iib-engine/iib/plugins/composer/internal/tree"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// image is the tree that packages of the small distribution would make.
func image(t *testing.T, packages ...string) *tree.Root {
	t.Helper()
	real.Root(t)
	dir := t.TempDir()
	for _, p := range rpmtest.Packages() {
		if !strings.Contains(" setup base "+strings.Join(packages, " ")+" ", " "+p.Name+" ") {
			continue
		}
		for _, f := range p.Files {
			at := filepath.Join(dir, f.Path)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				t.Fatal(err)
			}
			var err error
			switch mode := cmp.Or(f.Mode, 0o644); {
			case f.Dir:
				err = os.MkdirAll(at, 0o755)
			case f.Link != "":
				err = os.Symlink(f.Link, at)
			default:
				err = os.WriteFile(at, []byte(f.Content), mode)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	root, err := tree.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

type m = map[string]any
type l = []any

// apply applies a table of customizations, and returns the warnings.
func apply(t *testing.T, root *tree.Root, table m) (string, error) {
	t.Helper()
	b, _, err := Parse(table)
	if err != nil {
		return "", err
	}
	var warnings strings.Builder
	a := &Applier{Root: root, Epoch: time.Unix(rpmtest.Built, 0), Warn: func(format string, args ...any) { fmt.Fprintf(&warnings, format+"\n", args...) }}
	err = a.Apply(b)
	return warnings.String(), err
}

func read(t *testing.T, root *tree.Root, name string) string {
	t.Helper()
	content, err := root.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return string(content)
}

func lacks(t *testing.T, root *tree.Root, name, part string) {
	t.Helper()
	if got := read(t, root, name); strings.Contains(got, part) {
		t.Errorf("%s has %q:\n%s", name, part, got)
	}
}

func has(t *testing.T, root *tree.Root, name string, parts ...string) {
	t.Helper()
	got := read(t, root, name)
	for _, part := range parts {
		if !strings.Contains("\n"+got, part) {
			t.Errorf("%s lacks %q:\n%s", name, part, got)
		}
	}
}

func owned(t *testing.T, root *tree.Root, name string, mode fs.FileMode, uid, gid uint32) {
	t.Helper()
	info, err := root.Lstat(name)
	if err != nil {
		t.Error(err)
		return
	}
	s := info.Sys().(*syscall.Stat_t)
	if info.Mode() != mode || s.Uid != uid || s.Gid != gid {
		t.Errorf("%s: mode %v of %d:%d, want %v of %d:%d", name, info.Mode(), s.Uid, s.Gid, mode, uid, gid)
	}
}

func link(t *testing.T, root *tree.Root, name, want string) {
	t.Helper()
	if got, err := root.Readlink(name); err != nil || got != want {
		t.Errorf("%s leads to %q (%v), want %q", name, got, err, want)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	root := image(t, "tzdata")
	if err := root.WriteFile("/etc/shadow", []byte("root::19000:0:99999:7:::\n"), tree.Owner{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if _, err := apply(t, root, nil); err != nil {
		t.Fatal(err)
	}
	has(t, root, "/etc/shadow", "root:!:")
	has(t, root, "/etc/locale.conf", "LANG=en_US.UTF-8\n")
	has(t, root, "/etc/vconsole.conf", "KEYMAP=us\n")
	link(t, root, "/etc/localtime", "../usr/share/zoneinfo/UTC")
	if root.Exists("/etc/hostname") {
		t.Error("a host name was made up")
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	root := image(t, "shell")
	warnings, err := apply(t, root, m{
		"user": l{
			m{"name": "admin", "description": "Ann Admin, Rœm 1", "password": "$6$abc$def", "key": "ssh-ed25519 AAAA ann", "groups": l{"wheel", "ops"}, "shell": "/bin/zsh"},
			m{"name": "fixed", "uid": 1000, "home": "/srv/fixed/"},
			m{"name": "shared", "gid": 100},
			m{"name": "plain", "password": "secret: with colon", "uid": float64(1234), "gid": 4321},
			m{"name": "root", "password": "$5$root$hash", "key": "ssh-rsa ROOT", "uid": 17, "home": "/elsewhere", "shell": "/bin/false"},
		},
		"group":  l{m{"name": "ops", "gid": 2000}, m{"name": "late"}, m{"name": "admin", "gid": 77}},
		"sshkey": l{m{"user": "fixed", "key": "ssh-rsa FIXED\n"}, m{"user": "admin", "key": "ssh-rsa SECOND"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(warnings, "/bin/zsh of admin is not in the image") {
		t.Errorf("warnings: %s", warnings)
	}
	has(t, root, "/etc/passwd", "\nroot:x:0:0:root:/root:/bin/bash\n", "\nadmin:x:1001:1002:Ann Admin, Rœm 1:/home/admin:/bin/zsh\n",
		"\nfixed:x:1000:1000:", ":/srv/fixed:/bin/bash\n", "\nshared:x:1002:100::/home/shared:/bin/bash\n", "\nplain:x:1234:4321:")
	has(t, root, "/etc/group", "\nops:x:2000:admin\n", "\nlate:x:1001:\n", "\nadmin:x:1002:\n", "\nwheel:x:10:admin\n", "\nfixed:x:1000:\n", "\nplain:x:4321:\n")
	has(t, root, "/etc/gshadow", "\nops:!::admin\n", "\nwheel:::admin\n")
	lacks(t, root, "/etc/group", "shared")
	has(t, root, "/etc/shadow", "\nroot:$5$root$hash:19675:", "\nadmin:$6$abc$def:19675:0:99999:7:::\n", "\nfixed:!!:", "\nplain:$6$", "\nbin:*:19000:")
	lacks(t, root, "/etc/shadow", "secret")
	owned(t, root, "/home/admin", 0o700|fs.ModeDir, 1001, 1002)
	owned(t, root, "/home/admin/.profile", 0o644, 1001, 1002)
	owned(t, root, "/home/admin/.ssh", 0o700|fs.ModeDir, 1001, 1002)
	owned(t, root, "/home/admin/.ssh/authorized_keys", 0o600, 1001, 1002)
	has(t, root, "/home/admin/.ssh/authorized_keys", "ssh-ed25519 AAAA ann\nssh-rsa SECOND\n")
	owned(t, root, "/srv", 0o755|fs.ModeDir, 0, 0)
	owned(t, root, "/srv/fixed", 0o700|fs.ModeDir, 1000, 1000)
	has(t, root, "/srv/fixed/.ssh/authorized_keys", "ssh-rsa FIXED\n")
	owned(t, root, "/root/.ssh/authorized_keys", 0o600, 0, 0)
	owned(t, root, "/etc/shadow", 0o600, 0, 0)
	if root.Exists("/elsewhere") {
		t.Error("root was moved")
	}
}

func TestUserOfAPackage(t *testing.T) {
	t.Parallel()
	root := image(t)
	if _, err := apply(t, root, m{"user": l{m{"name": "bin", "password": "$6$x$y", "shell": "/bin/sh"}}}); err != nil {
		t.Fatal(err)
	}
	has(t, root, "/etc/passwd", "\nbin:x:1:1:bin:/bin:/bin/sh\n")
	has(t, root, "/etc/shadow", "\nbin:$6$x$y:")
	if strings.Count(read(t, root, "/etc/passwd"), "bin:x:1:") != 1 {
		t.Error("the user is there twice")
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	root := image(t, "systemd", "sshd", "chrony")
	warnings, err := apply(t, root, m{"services": m{"enabled": l{"chronyd", "getty@tty2.service", "static"}, "disabled": l{"sshd.service"}}})
	if err != nil {
		t.Fatal(err)
	}
	link(t, root, "/etc/systemd/system/multi-user.target.wants/chronyd.service", "/usr/lib/systemd/system/chronyd.service")
	link(t, root, "/etc/systemd/system/getty.target.wants/getty@tty2.service", "/usr/lib/systemd/system/getty@.service")
	if _, err := root.Lstat("/etc/systemd/system/multi-user.target.wants/sshd.service"); err == nil {
		t.Error("sshd is still enabled")
	}
	if !strings.Contains(warnings, "static.service says nothing") {
		t.Errorf("warnings: %s", warnings)
	}
	if _, err := apply(t, root, m{"services": m{"enabled": l{"sshd", "getty@"}}}); err != nil {
		t.Fatal(err)
	}
	link(t, root, "/etc/systemd/system/ssh.service", "/usr/lib/systemd/system/sshd.service")
	link(t, root, "/etc/systemd/system/getty.target.wants/getty@tty1.service", "/usr/lib/systemd/system/getty@.service")
	if _, err := apply(t, root, m{"services": m{"disabled": l{"ssh"}}}); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"/etc/systemd/system/ssh.service", "/etc/systemd/system/multi-user.target.wants/sshd.service"} {
		if _, err := root.Lstat(gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
}

func TestFirewall(t *testing.T) {
	t.Parallel()
	root := image(t, "systemd", "firewalld")
	if _, err := apply(t, root, m{"firewall": m{"ports": l{"22:tcp", "imap:tcp", "8000-8010:udp", "22:tcp"},
		"services": m{"enabled": l{"http", "ssh"}, "disabled": l{"dhcpv6-client"}}}}); err != nil {
		t.Fatal(err)
	}
	want := `<?xml version="1.0" encoding="utf-8"?>
<zone>
  <short>Public</short>
  <service name="ssh"/>
  <forward/>
  <port port="143" protocol="tcp"/>
  <port port="22" protocol="tcp"/>
  <port port="8000-8010" protocol="udp"/>
  <service name="http"/>
</zone>
`
	if got := read(t, root, "/etc/firewalld/zones/public.xml"); got != want {
		t.Errorf("got\n%s", got)
	}
	bare := image(t)
	warnings, err := apply(t, bare, m{"firewall": m{"ports": l{"80:tcp"}}})
	if err != nil || !strings.Contains(warnings, "firewalld is not in the image") {
		t.Errorf("without firewalld: %v, %s", err, warnings)
	}
	has(t, bare, "/etc/firewalld/zones/public.xml", `<port port="80" protocol="tcp"/>`)
}

func TestTimeAndPlace(t *testing.T) {
	t.Parallel()
	root := image(t, "tzdata", "chrony", "systemd")
	warnings, err := apply(t, root, m{
		"hostname": "host-1.example.org",
		"timezone": m{"timezone": "Europe/Berlin", "ntpservers": l{"ntp1.example.org", "2001:db8::1"}},
		"locale":   m{"languages": l{"de_DE.UTF-8", "en_US.UTF-8"}, "keyboard": "de-latin1"},
	})
	if err != nil || warnings != "" {
		t.Fatalf("%v, %s", err, warnings)
	}
	has(t, root, "/etc/hostname", "\nhost-1.example.org\n")
	link(t, root, "/etc/localtime", "../usr/share/zoneinfo/Europe/Berlin")
	has(t, root, "/etc/chrony.conf", "\nserver ntp1.example.org iburst\nserver 2001:db8::1 iburst\n", "driftfile")
	lacks(t, root, "/etc/chrony.conf", "pool 2.pool")
	has(t, root, "/etc/locale.conf", "LANG=de_DE.UTF-8\n")
	has(t, root, "/etc/vconsole.conf", "KEYMAP=de-latin1\n")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	user := func(fields ...any) m {
		u := m{"name": "eve"}
		for i := 0; i < len(fields); i += 2 {
			u[fields[i].(string)] = fields[i+1]
		}
		return m{"user": l{u}}
	}
	for _, c := range []struct {
		name  string
		table m
		err   string
	}{
		{"a host name with a line break", m{"hostname": "a\nb"}, "customizations.hostname: "},
		{"a host name that is too long", m{"hostname": strings.Repeat("a", 65)}, "customizations.hostname: "},
		{"a home above the tree", user("home", "/../.."), "customizations.user: home"},
		{"a home that leads up", user("home", "/home/../../etc"), "customizations.user: home"},
		{"a home that is the root", user("home", "/"), "customizations.user: home"},
		{"a relative home", user("home", "home"), "customizations.user: home"},
		{"a home with a colon", user("home", "/a:b"), "customizations.user: home"},
		{"a description with a line break", user("description", "x\nroot2::0:0::/:/bin/sh"), "customizations.user: description of eve"},
		{"a description with a carriage return", user("description", "x\rroot2"), "customizations.user: description of eve"},
		{"a hash with a line break", user("password", "$6$a\nroot2::"), "customizations.user: password of eve"},
		{"a shell with a colon", user("shell", "/bin/sh:x"), "customizations.user: shell of eve"},
		{"a name with a colon", m{"user": l{m{"name": "a:b"}}}, "customizations.user: "},
		{"a name that is a path", m{"user": l{m{"name": "../x"}}}, "customizations.user: "},
		{"a user twice", m{"user": l{m{"name": "a"}, m{"name": "a"}}}, "customizations.user: a is there twice"},
		{"a number that is taken", user("uid", 0), "customizations.user: uid 0 of eve is that of root"},
		{"a negative number", user("uid", -1), "customizations.user: uid -1"},
		{"a number that is too large", user("gid", 1<<32), "customizations.user: gid"},
		{"a number that is none", user("uid", "x"), "customizations: "},
		{"an unknown group", user("groups", l{"nosuch"}), `customizations.user: eve cannot be in group "nosuch"`},
		{"a group's number that is taken", m{"group": l{m{"name": "g", "gid": 10}}}, "customizations.group: gid 10 of g is that of wheel"},
		{"a key for nobody", m{"sshkey": l{m{"user": "nosuch", "key": "k"}}}, `customizations.sshkey: there is no user "nosuch"`},
		{"a key with a control character", m{"sshkey": l{m{"user": "root", "key": "a\x1b[2Jb"}}}, "customizations.sshkey: "},
		{"an unknown unit", m{"services": m{"enabled": l{"nosuch"}}}, "customizations.services: there is no unit nosuch.service in the image"},
		{"an unknown unit that is disabled", m{"services": m{"disabled": l{"nosuch.socket"}}}, "customizations.services: there is no unit nosuch.socket"},
		{"a unit that is a path", m{"services": m{"enabled": l{"../../x.service"}}}, "customizations.services: "},
		{"an unknown zone", m{"timezone": m{"timezone": "Europe/Nowhere"}}, `customizations.timezone: the image has no time zone "Europe/Nowhere"`},
		{"a zone that leads up", m{"timezone": m{"timezone": "../../../etc/shadow"}}, "customizations.timezone: "},
		{"a directory of zones", m{"timezone": m{"timezone": "Europe"}}, "customizations.timezone: "},
		{"a time server with a line break", m{"timezone": m{"ntpservers": l{"a\nb"}}}, "customizations.timezone: ntpservers"},
		{"a locale with a line break", m{"locale": m{"languages": l{"C\nX=1"}}}, "customizations.locale: "},
		{"a port of no protocol", m{"firewall": m{"ports": l{"80"}}}, "customizations.firewall: port"},
		{"a port that is too large", m{"firewall": m{"ports": l{"70000:tcp"}}}, "customizations.firewall: port"},
		{"an element in a port", m{"firewall": m{"ports": l{`1"/><x:tcp`}}}, "customizations.firewall: port"},
		{"an unknown service", m{"firewall": m{"services": m{"enabled": l{"nosuch"}}}}, "customizations.firewall: firewalld knows no service nosuch"},
		{"an argument with a line break", m{"kernel": m{"append": "quiet\ninit=/x"}}, "customizations.kernel: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := apply(t, image(t, "systemd", "firewalld", "tzdata"), c.table)
			if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(fmt.Sprint(err), c.err) {
				t.Errorf("got %v (%s), want %q", err, sdk.CodeOf(err), c.err)
			}
		})
	}
}

// A tree in which links lead everywhere.
func TestLinksOfTheTree(t *testing.T) {
	t.Parallel()
	root := image(t)
	outside := t.TempDir()
	for name, target := range map[string]string{"/etc/hostname": outside + "/hostname", "/home/eve": outside, "/etc/locale.conf": "../../../../.." + outside + "/locale"} {
		if err := root.Link(target, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := apply(t, root, m{"hostname": "inside", "user": l{m{"name": "eve", "key": "k"}}}); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside of the tree: %v, %v", entries, err)
	}
	has(t, root, "/etc/hostname", "inside")
	has(t, root, outside+"/.ssh/authorized_keys", "k\n") // below the tree
}

// The vectors of the algorithm's publication.
func TestCrypt(t *testing.T) {
	for _, c := range []struct{ key, salt, want string }{
		{"Hello world!", "saltstring", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
		{"This is just a test", "toolongsaltstrin", "$6$toolongsaltstrin$lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0"},
	} {
		if got := sha512crypt([]byte(c.key), []byte(c.salt), 5000); got != c.want {
			t.Errorf("%q: got %s, want %s", c.key, got, c.want)
		}
	}
	if a, b := crypt("x"), crypt("x"); a == b || !strings.HasPrefix(a, "$6$") || len(a) != 106 {
		t.Errorf("two hashes of one password: %s, %s", a, b)
	}
	if !hashed("$2b$x") || !hashed("$5$x") || hashed("$1$x") || hashed("plain") {
		t.Error("what is hashed already")
	}
}
