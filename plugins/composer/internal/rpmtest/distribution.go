package rpmtest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/iib-engine/iib/sdk/sdktest/real"
)

var distribution struct {
	once sync.Once
	dir  string
	err  error
}

// Distribution returns the repository of a small distribution: the directory
// must not be changed. Main removes it.
func Distribution(t testing.TB) string {
	t.Helper()
	real.Need(t, "rpmbuild", "createrepo_c")
	d := &distribution
	d.once.Do(func() {
		if d.dir, d.err = os.MkdirTemp("", "rpmtest-distribution-"); d.err != nil {
			return
		}
		if d.err = build(filepath.Join(d.dir, "repo"), Packages()); d.err != nil {
			return
		}
		d.err = index(filepath.Join(d.dir, "repo"), Groups())
	})
	if d.err != nil {
		t.Fatal(d.err)
	}
	return filepath.Join(d.dir, "repo")
}

// Main runs the tests of a package that uses Distribution, for its TestMain.
func Main(m *testing.M) {
	code := m.Run()
	if distribution.dir != "" {
		os.RemoveAll(distribution.dir)
	}
	os.Exit(code)
}

// Groups are the distribution's groups.
func Groups() []Group {
	return []Group{
		{ID: "core", Mandatory: []string{"base"}, Default: []string{"hello", "not-on-this-architecture"}, Optional: []string{"web-a"}},
		{ID: "server", Mandatory: []string{"sshd", "firewalld"}, Default: []string{"chrony"}},
	}
}

func unit(name, description, install string) File {
	text := "[Unit]\nDescription=" + description + "\n\n[Service]\nExecStart=/usr/bin/true\n"
	if install != "" {
		text += "\n[Install]\n" + install
	}
	return Text("/usr/lib/systemd/system/"+name, text)
}

// Packages are the distribution's packages.
func Packages() []RPM {
	p := func(name, version, release string, r RPM) RPM {
		r.Name, r.Version, r.Release = name, version, release
		return r
	}
	return []RPM{
		p("setup", "2.14", "1", RPM{
			Summary: "accounts and what everything else stands on",
			Files: append(Dirs("/etc", "/usr", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/share", "/usr/lib/systemd", "/usr/lib/systemd/system",
				"/var", "/var/lib", "/var/log", "/var/cache", "/home", "/run", "/boot", "/etc/systemd", "/etc/systemd/system", "/dev", "/proc", "/sys"),
				File{Path: "/root", Dir: true, Mode: 0o550},
				File{Path: "/tmp", Dir: true, Mode: 0o1777},
				File{Path: "/var/tmp", Dir: true, Mode: 0o1777},
				Link("/bin", "usr/bin"), Link("/sbin", "usr/sbin"), Link("/lib", "usr/lib"), Link("/lib64", "usr/lib64"),
				Text("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nbin:x:1:1:bin:/bin:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"),
				Text("/etc/group", "root:x:0:\nbin:x:1:\nwheel:x:10:\nusers:x:100:\nnobody:x:65534:\n"),
				File{Path: "/etc/shadow", Mode: 0o600, Content: "root:*:19000:0:99999:7:::\nbin:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"},
				File{Path: "/etc/gshadow", Mode: 0o600, Content: "root:::\nbin:::\nwheel:::\nusers:::\nnobody:::\n"},
				Text("/etc/hosts", "127.0.0.1 localhost\n"),
			),
		}),
		p("base", "39", "1", RPM{
			Requires: []string{"setup"}, Provides: []string{"system-release = 39"},
			Files: []File{
				Text("/etc/os-release", "NAME=Seedling\nID=seedling\nVERSION_ID=39\n"),
				Text("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
				Text("/var/lib/random-seed", "not random"),
			},
		}),
		p("libgreet", "1.4", "2", RPM{Arch: "x86_64", Epoch: 1, Requires: []string{"base"}, Provides: []string{"libgreet.so.1"},
			Files: []File{Text("/usr/lib64/libgreet.so.1", "library")}}),
		p("hello", "1.0", "1", RPM{Arch: "x86_64", Requires: []string{"libgreet.so.1"}, Files: []File{{Path: "/usr/bin/hello", Content: "hello 1.0", Mode: 0o755}}}),
		p("hello", "1.1", "3", RPM{Arch: "x86_64", Requires: []string{"libgreet.so.1"}, Files: []File{{Path: "/usr/bin/hello", Content: "hello 1.1", Mode: 0o755}}}),
		p("hello", "2.0", "1", RPM{
			Arch: "x86_64", Summary: "says hello", URL: "https://hello.example.org", License: "GPL-3.0-or-later",
			Requires: []string{"libgreet >= 1:1"}, Recommends: []string{"hello-doc"},
			Files: []File{{Path: "/usr/bin/hello", Content: "hello 2.0", Mode: 0o755}},
		}),
		p("hello-doc", "2.0", "1", RPM{Requires: []string{"base"}, Files: []File{Text("/usr/share/hello.txt", "how to say hello")}}),
		p("hello-script", "1", "1", RPM{Requires: []string{"/usr/bin/hello"}, Files: []File{Text("/usr/share/hello-script", "script")}}),
		p("web-a", "1.2", "1", RPM{Requires: []string{"base"}, Provides: []string{"webserver"}, Conflicts: []string{"web-b"}, Files: []File{Text("/usr/share/web", "a")}}),
		p("web-b", "3.4", "1", RPM{Requires: []string{"base"}, Provides: []string{"webserver"}, Files: []File{Text("/usr/share/web-b", "b")}}),
		p("broken", "1", "1", RPM{Requires: []string{"nobody-provides-this"}}),
		p("ping", "5", "1", RPM{Arch: "x86_64", Requires: []string{"base"}, Files: []File{
			{Path: "/usr/bin/ping", Content: "ping", Mode: 0o755, Caps: "cap_net_raw=p"},
			{Path: "/usr/bin/su", Content: "su", Mode: 0o4755},
		}}),
		p("app", "7", "1", RPM{
			Requires: []string{"base"},
			Pre: `local f = io.open("/etc/passwd", "a"); f:write("app:x:990:990:App:/var/lib/app:/sbin/nologin\n"); f:close()
local f = io.open("/etc/group", "a"); f:write("app:x:990:\n"); f:close()
local f = io.open("/etc/shadow", "a"); f:write("app:!!:19000::::::\n"); f:close()`,
			Post: `local f = io.open("/var/lib/app/scriptlet", "w"); f:write("ran\n"); f:close()
local n = io.open("/dev/null", "w"); if n then n:write("x"); n:close() end`,
			Files: []File{{Path: "/var/lib/app", Dir: true, Mode: 0o750, Owner: "app:app"}, {Path: "/var/lib/app/data", Content: "data", Owner: "app:app", Mode: 0o640}},
		}),
		p("failing", "1", "1", RPM{Requires: []string{"base"}, Pre: `error("the scriptlet refuses")`, Files: []File{Text("/usr/share/failing", "x")}}),
		p("kernel", "6.1.0", "1", RPM{Arch: "x86_64", Requires: []string{"base"}, Files: append(Dirs("/usr/lib/modules", "/usr/lib/modules/6.1.0-1.x86_64"),
			Text("/usr/lib/modules/6.1.0-1.x86_64/modules.dep", ""),
			Text("/boot/vmlinuz-6.1.0-1.x86_64", "a kernel"), Text("/boot/initramfs-6.1.0-1.x86_64.img", "an initramfs"))}),
		p("systemd", "254", "1", RPM{Arch: "x86_64", Requires: []string{"base"}, Files: []File{
			Text("/usr/lib/systemd/system/multi-user.target", "[Unit]\nDescription=multi-user\n"),
			unit("getty@.service", "getty", "WantedBy=getty.target\nDefaultInstance=tty1\n"),
			unit("static.service", "static", ""),
		}}),
		p("sshd", "9.3", "1", RPM{Requires: []string{"systemd"}, Files: []File{
			unit("sshd.service", "sshd", "WantedBy=multi-user.target\nAlias=ssh.service\n"),
			Link("/etc/systemd/system/multi-user.target.wants/sshd.service", "/usr/lib/systemd/system/sshd.service"),
		}}),
		p("chrony", "4.4", "1", RPM{Requires: []string{"systemd"}, Files: []File{
			unit("chronyd.service", "chronyd", "WantedBy=multi-user.target\n"),
			{Path: "/etc/chrony.conf", Config: true, Content: "# servers\npool 2.pool.example.org iburst\ndriftfile /var/lib/chrony/drift\n"},
		}}),
		p("firewalld", "2.0", "1", RPM{Requires: []string{"systemd"}, Files: []File{
			unit("firewalld.service", "firewalld", "WantedBy=multi-user.target\nAlias=dbus-org.fedoraproject.FirewallD1.service\n"),
			{Path: "/etc/firewalld/firewalld.conf", Config: true, Content: "# zone\nDefaultZone=public\nLogDenied=off\n"},
			Text("/usr/lib/firewalld/zones/public.xml", `<?xml version="1.0" encoding="utf-8"?>
<zone>
  <short>Public</short>
  <service name="ssh"/>
  <service name="dhcpv6-client"/>
  <forward/>
</zone>
`),
			Text("/usr/lib/firewalld/services/ssh.xml", "<service/>\n"), Text("/usr/lib/firewalld/services/http.xml", "<service/>\n"),
			Text("/usr/lib/firewalld/services/dhcpv6-client.xml", "<service/>\n"),
			File{Path: "/etc/firewalld/zones", Dir: true, Mode: 0o750},
		}}),
		p("tzdata", "2024a", "1", RPM{Requires: []string{"base"}, Files: []File{
			Text("/usr/share/zoneinfo/UTC", "TZif UTC"), Text("/usr/share/zoneinfo/Europe/Berlin", "TZif Berlin"),
		}}),
		p("shell", "5.2", "1", RPM{Arch: "x86_64", Requires: []string{"base"}, Files: []File{
			{Path: "/usr/bin/bash", Content: "#!/bin/false\n", Mode: 0o755}, Text("/etc/shells", "/bin/bash\n/bin/sh\n"),
			Text("/etc/skel/.profile", "# profile\n"),
		}}),
	}
}
