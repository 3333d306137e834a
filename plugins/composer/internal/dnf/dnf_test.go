package dnf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/plugins/composer/internal/rpmtest"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

func TestMain(m *testing.M) { rpmtest.Main(m) }

func newSolver(t *testing.T) *Solver {
	t.Helper()
	real.Need(t, "python3-dnf", "rpmkeys")
	s, err := New(Options{CacheDir: t.TempDir(), Arch: "x86_64"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func source(id, url string) solve.Source {
	return solve.Source{ID: id, Name: id, Type: solve.BaseURL, URL: url}
}

// distribution serves the small distribution.
func distribution(t *testing.T) []solve.Source {
	t.Helper()
	return []solve.Source{source("seed", rpmtest.Serve(t, rpmtest.Distribution(t)).URL)}
}

func names(packages []solve.Package) string {
	var b []string
	for _, p := range packages {
		b = append(b, p.String())
	}
	return strings.Join(b, " ")
}

func TestSolve(t *testing.T) {
	t.Parallel()
	s, sources := newSolver(t), distribution(t)
	for _, c := range []struct {
		name   string
		wishes solve.Wishes
		want   string // all that is installed
		match  string // what the wishes stand for, one after the other
		err    string
	}{
		{
			"a name is its newest version, with what that requires and without weak dependencies",
			solve.Wishes{Packages: []solve.Want{{Name: "hello", Version: "*"}}},
			"base-39-1.noarch hello-2.0-1.x86_64 libgreet-1:1.4-2.x86_64 setup-2.14-1.noarch", "hello-2.0-1.x86_64", "",
		},
		{
			"a version may be a glob",
			solve.Wishes{Packages: []solve.Want{{Name: "hello", Version: "1.*"}}},
			"base-39-1.noarch hello-1.1-3.x86_64 libgreet-1:1.4-2.x86_64 setup-2.14-1.noarch", "hello-1.1-3.x86_64", "",
		},
		{
			"a version may be exact",
			solve.Wishes{Packages: []solve.Want{{Name: "hello", Version: "1.0"}}},
			"base-39-1.noarch hello-1.0-1.x86_64 libgreet-1:1.4-2.x86_64 setup-2.14-1.noarch", "hello-1.0-1.x86_64", "",
		},
		{
			"frozen versions match, with an epoch and without",
			solve.Wishes{Packages: []solve.Want{{Name: "hello", Version: "1.0-1.x86_64"}, {Name: "libgreet", Version: "1:1.4-2.x86_64"}}},
			"base-39-1.noarch hello-1.0-1.x86_64 libgreet-1:1.4-2.x86_64 setup-2.14-1.noarch", "hello-1.0-1.x86_64 | libgreet-1:1.4-2.x86_64", "",
		},
		{
			"a name may be a glob, and each package is wanted in its newest version",
			solve.Wishes{Packages: []solve.Want{{Name: "hello*", Version: ""}}},
			"base-39-1.noarch hello-2.0-1.x86_64 hello-doc-2.0-1.noarch hello-script-1-1.noarch libgreet-1:1.4-2.x86_64 setup-2.14-1.noarch",
			"hello-2.0-1.x86_64 hello-doc-2.0-1.noarch hello-script-1-1.noarch", "",
		},
		{
			"globs know sets of characters, and a version passes over names",
			solve.Wishes{Packages: []solve.Want{{Name: "hell[m-p]*", Version: "2.?"}}},
			"base-39-1.noarch hello-2.0-1.x86_64 hello-doc-2.0-1.noarch libgreet-1:1.4-2.x86_64 setup-2.14-1.noarch",
			"hello-2.0-1.x86_64 hello-doc-2.0-1.noarch", "",
		},
		{
			"a capability stands for one that provides it, here the one that goes with the rest",
			solve.Wishes{Packages: []solve.Want{{Name: "webserver", Version: "*"}, {Name: "web-b", Version: "*"}}},
			"base-39-1.noarch setup-2.14-1.noarch web-b-3.4-1.noarch", "web-b-3.4-1.noarch | web-b-3.4-1.noarch", "",
		},
		{
			"a frozen capability matches too",
			solve.Wishes{Packages: []solve.Want{{Name: "webserver", Version: "1.2-1.noarch"}}},
			"base-39-1.noarch setup-2.14-1.noarch web-a-1.2-1.noarch", "web-a-1.2-1.noarch", "",
		},
		{
			"a required path is met by the package that has the file",
			solve.Wishes{Packages: []solve.Want{{Name: "hello-script", Version: "*"}}},
			"base-39-1.noarch hello-2.0-1.x86_64 hello-script-1-1.noarch libgreet-1:1.4-2.x86_64 setup-2.14-1.noarch", "hello-script-1-1.noarch", "",
		},
		{
			"a group brings its mandatory and default members",
			solve.Wishes{Groups: []string{"core"}},
			"base-39-1.noarch hello-2.0-1.x86_64 libgreet-1:1.4-2.x86_64 setup-2.14-1.noarch", "", "",
		},
		{
			"nothing is wished for",
			solve.Wishes{}, "", "", "",
		},
		{
			"all that is missing is named",
			solve.Wishes{Packages: []solve.Want{{Name: "nosuch", Version: "1.*"}, {Name: "hello", Version: "9"}, {Name: "x*"}}, Groups: []string{"nogroup"}},
			"", "", "The following package(s) had problems: nosuch-1.* (No match),hello-9 (No match),x*-* (No match),Group nogroup (No match)",
		},
		{
			"a requirement that nobody meets is explained",
			solve.Wishes{Packages: []solve.Want{{Name: "broken", Version: "*"}}},
			"", "", "There was a problem depsolving broken: *nothing provides nobody-provides-this needed by broken-1-1.noarch*",
		},
		{
			"a conflict is explained",
			solve.Wishes{Packages: []solve.Want{{Name: "web-a"}, {Name: "web-b"}}},
			"", "", "There was a problem depsolving web-a, web-b: *web-a-1.2-1.noarch conflicts with web-b provided by web-b-3.4-1.noarch*",
		},
		{
			"two versions of a package",
			solve.Wishes{Packages: []solve.Want{{Name: "hello", Version: "1.0"}, {Name: "hello", Version: "1.1"}}},
			"", "", "There was a problem depsolving hello, hello: *cannot install both hello-1.*",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := s.Solve(t.Context(), sources, c.wishes, false)
			if c.err != "" {
				if sdk.CodeOf(err) != sdk.Invalid || !like(c.err, err.Error()) {
					t.Fatalf("got %q (%s), want %q", err, sdk.CodeOf(err), c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, names(got.Packages)); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
			var matches []string
			for _, m := range got.Matches {
				matches = append(matches, names(m))
			}
			if diff := cmp.Diff(c.match, strings.Join(matches, " | ")); diff != "" {
				t.Errorf("matches (-want +got):\n%s", diff)
			}
		})
	}
}

// like compares with a text in which * between parts stands for anything.
func like(want, got string) bool {
	if !strings.HasPrefix(want, "There was") {
		return want == got
	}
	for _, part := range strings.Split(want, ": *") {
		if !strings.Contains(got, strings.TrimSuffix(part, "*")) {
			return false
		}
	}
	return true
}

func TestProjects(t *testing.T) {
	t.Parallel()
	s, sources := newSolver(t), distribution(t)
	// The same packages once more.
	sources = append(sources, source("copy", sources[0].URL))
	got, err := s.Projects(t.Context(), sources, []string{"hello", "lib[a-z]*"})
	if err != nil {
		t.Fatal(err)
	}
	built := time.Unix(rpmtest.Built, 0).UTC()
	build := func(name string, epoch int, version, release, license string) solve.Build {
		return solve.Build{Package: solve.Package{Name: name, Epoch: epoch, Version: version, Release: release, Arch: "x86_64"},
			Built: built, License: license, Changelog: "- " + rpmtest.Change}
	}
	want := []solve.Project{
		{
			Name: "hello", Summary: "says hello", Description: "What hello is for.", Homepage: "https://hello.example.org",
			Builds: []solve.Build{build("hello", 0, "1.0", "1", "MIT"), build("hello", 0, "1.1", "3", "MIT"), build("hello", 0, "2.0", "1", "GPL-3.0-or-later")},
		},
		{
			Name: "libgreet", Summary: "the package libgreet", Description: "What libgreet is for.",
			Builds: []solve.Build{build("libgreet", 1, "1.4", "2", "MIT")},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("projects (-want +got):\n%s", diff)
	}
	all, err := s.Projects(t.Context(), sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, p := range all {
		have = append(have, p.Name)
	}
	if !slices.IsSorted(have) || len(have) != len(rpmtest.Packages())-2 {
		t.Errorf("all projects: %v", have)
	}
	if none, err := s.Projects(t.Context(), sources, []string{"nosuch"}); err != nil || len(none) != 0 {
		t.Errorf("unknown projects: %v, %v", none, err)
	}
}

func TestPriority(t *testing.T) {
	t.Parallel()
	s := newSolver(t)
	dirs := [2]string{t.TempDir(), t.TempDir()}
	tool := func(version string) rpmtest.RPM { return rpmtest.RPM{Name: "tool", Version: version, Release: "1"} }
	rpmtest.Make(t, dirs[0], tool("1"), rpmtest.RPM{Name: "user", Version: "1", Release: "1", Requires: []string{"tool"}})
	rpmtest.Make(t, dirs[1], tool("2"))
	var sources []solve.Source
	for i, dir := range dirs {
		rpmtest.Index(t, dir)
		sources = append(sources, source(fmt.Sprintf("s%d", i), "file://"+dir))
	}
	for _, c := range []struct {
		priorities [2]int
		version    string
		want       string
	}{
		{[2]int{0, 0}, "*", "tool-2-1.noarch"},
		{[2]int{10, 0}, "*", "tool-1-1.noarch"},
		{[2]int{0, 10}, "*", "tool-2-1.noarch"},
		{[2]int{10, 20}, "2", "tool-2-1.noarch"},
	} {
		sources[0].Priority, sources[1].Priority = c.priorities[0], c.priorities[1]
		got, err := s.Solve(t.Context(), sources, solve.Wishes{Packages: []solve.Want{{Name: "tool", Version: c.version}}}, false)
		if err != nil {
			t.Fatal(err)
		}
		if names(got.Packages) != c.want {
			t.Errorf("priorities %v, version %s: got %s, want %s", c.priorities, c.version, names(got.Packages), c.want)
		}
	}
	// A dependency follows the priority too.
	sources[0].Priority, sources[1].Priority = 10, 20
	got, err := s.Solve(t.Context(), sources, solve.Wishes{Packages: []solve.Want{{Name: "user"}}}, false)
	if err != nil || names(got.Packages) != "tool-1-1.noarch user-1-1.noarch" {
		t.Errorf("a dependency: %v, %v", got, err)
	}
}

func TestMetadataIsKeptAndRenewed(t *testing.T) {
	t.Parallel()
	s := newSolver(t)
	dir := t.TempDir()
	rpmtest.Make(t, dir, rpmtest.RPM{Name: "tool", Version: "1", Release: "1"})
	rpmtest.Index(t, dir)
	server := rpmtest.Serve(t, dir)
	sources := []solve.Source{source("one", server.URL)}
	wishes := solve.Wishes{Packages: []solve.Want{{Name: "tool"}}}
	solved := func(fresh bool) string {
		t.Helper()
		got, err := s.Solve(t.Context(), sources, wishes, fresh)
		if err != nil {
			t.Fatal(err)
		}
		return names(got.Packages)
	}
	if got := solved(false); got != "tool-1-1.noarch" {
		t.Fatal(got)
	}
	asked := server.Gets("/repodata/repomd.xml")
	rpmtest.Make(t, dir, rpmtest.RPM{Name: "tool", Version: "2", Release: "1"})
	rpmtest.Index(t, dir)
	if got := solved(false); got != "tool-1-1.noarch" || server.Gets("/repodata/repomd.xml") != asked {
		t.Errorf("metadata that is young enough was not used: %s", got)
	}
	if got := solved(true); got != "tool-2-1.noarch" {
		t.Errorf("a changed repository was not seen: %s", got)
	}
	server.Gone(true)
	if got := solved(false); got != "tool-2-1.noarch" {
		t.Errorf("kept metadata: %s", got)
	}
	_, err := s.Solve(t.Context(), sources, wishes, true)
	if sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "one") || strings.Contains(err.Error(), "source-") {
		t.Errorf("a source that is down: %v (%s)", err, sdk.CodeOf(err))
	}
	server.Gone(false)
	if got := solved(true); got != "tool-2-1.noarch" {
		t.Errorf("a source that is up again: %s", got)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	s, sources := newSolver(t), distribution(t)
	if err := s.Available(t.Context()); err != nil {
		t.Errorf("dnf is there: %v", err)
	}
	if err := s.Check(t.Context(), sources[0]); err != nil {
		t.Errorf("a good source: %v", err)
	}
	if err := s.Check(t.Context(), source("empty", "file://"+t.TempDir())); sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "'empty'") {
		t.Errorf("a directory without metadata: %v", err)
	}
	with := source("release", sources[0].URL+"/$releasever")
	if err := s.Check(t.Context(), with); sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "$releasever") {
		t.Errorf("an unknown release: %v", err)
	}
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte(sources[0].URL+"/\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mirrors := source("mirrors", "file://"+list)
	mirrors.Type = solve.MirrorList
	if err := s.Check(t.Context(), mirrors); err != nil {
		t.Errorf("a list of mirrors: %v", err)
	}
	for _, url := range []string{"ftp://example.org/", "/etc", "file://host/x", "http://", "http://a\nb", "http://127.0.0.1:1/,http://b/"} {
		if err := s.Check(t.Context(), source("bad", url)); sdk.CodeOf(err) != sdk.Invalid {
			t.Errorf("URL %q: %v", url, err)
		}
	}
	bad := sources[0]
	bad.Type = "yum-magic"
	if err := s.Check(t.Context(), bad); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("type yum-magic: %v", err)
	}
	where, err := New(Options{CacheDir: t.TempDir(), Arch: "x86_64", ReleaseVer: "39"})
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	if err := os.CopyFS(filepath.Join(top, "39", "x86_64"), os.DirFS(rpmtest.Distribution(t))); err != nil {
		t.Fatal(err)
	}
	if err := where.Check(t.Context(), source("vars", "file://"+top+"/$releasever/${basearch}/")); err != nil {
		t.Errorf("variables: %v", err)
	}
}

func TestWithoutDnf(t *testing.T) {
	t.Parallel()
	for _, python := range []string{"/nonexistent/python3", without(t)} {
		s, err := New(Options{CacheDir: t.TempDir(), Python: python})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Solve(t.Context(), nil, solve.Wishes{}, false)
		if sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "python3") {
			t.Errorf("%s: %v (%s)", python, err, sdk.CodeOf(err))
		}
		if err := s.Available(t.Context()); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("%s: available: %v", python, err)
		}
	}
}

// without returns an interpreter that finds no module of the distribution.
func without(t *testing.T) string {
	real.Need(t, "python3")
	path := filepath.Join(t.TempDir(), "python3")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec /usr/bin/python3 -S \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// A server that accepts and never answers.
func TestTimeoutAndCancel(t *testing.T) {
	t.Parallel()
	s := newSolver(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	accepted := make(chan net.Conn, 16)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	sources := []solve.Source{source("silent", "http://"+listener.Addr().String())}

	ctx, cancel := context.WithCancelCause(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		select {
		case <-accepted:
			cancel(errStopped)
		case <-ctx.Done():
		}
	})
	if _, err := s.Solve(ctx, sources, solve.Wishes{}, false); !errors.Is(err, errStopped) {
		t.Errorf("cancelled: %v", err)
	}
	cancel(nil)
	wait.Wait()

	s.opts.Timeout = 2 * time.Second
	_, err = s.Solve(t.Context(), sources, solve.Wishes{}, false)
	if sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "within 2s") {
		t.Errorf("timed out: %v", err)
	}
	left, err := filepath.Glob(s.opts.CacheDir + "/call-*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

var errStopped = errors.New("stopped by the test")

func TestConcurrentCalls(t *testing.T) {
	t.Parallel()
	s, sources := newSolver(t), distribution(t)
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			got, err := s.Solve(t.Context(), sources, solve.Wishes{Packages: []solve.Want{{Name: "hello"}}}, i%2 == 0)
			if err != nil || len(got.Packages) != 4 {
				t.Errorf("call %d: %v, %v", i, got, err)
			}
		})
	}
	wait.Wait()
}

// A source that does not answer holds up nobody else, and neither does what a
// process has left that was killed.
func TestSourcesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	s, sources := newSolver(t), distribution(t)
	slow := rpmtest.Serve(t, rpmtest.Distribution(t))
	release := slow.Hold()
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { _, _ = s.Solve(ctx, []solve.Source{source("slow", slow.URL)}, solve.Wishes{}, true) })
	slow.Asked(t)
	// A number that is sure to be a process, as one that is used again.
	for _, dir := range []string{s.opts.CacheDir, s.opts.CacheDir + "/metadata"} {
		if err := os.WriteFile(dir+"/metadata_lock.pid", []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	within, stop := context.WithTimeoutCause(t.Context(), time.Minute, errStopped)
	defer stop()
	got, err := s.Solve(within, sources, solve.Wishes{Packages: []solve.Want{{Name: "hello"}}}, true)
	if err != nil || len(got.Packages) != 4 {
		t.Errorf("beside a source that does not answer: %v, %v", got, err)
	}
	cancel()
	wait.Wait()
	release()
	if _, err := s.Solve(t.Context(), []solve.Source{source("slow", slow.URL)}, solve.Wishes{}, false); err != nil {
		t.Errorf("the source that answers again: %v", err)
	}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	s := newSolver(t)
	dir := rpmtest.Copy(t, rpmtest.Distribution(t))
	server := rpmtest.Serve(t, dir)
	hello := solve.Package{Name: "hello", Version: "1.1", Release: "3", Arch: "x86_64"}
	greet := solve.Package{Name: "libgreet", Epoch: 1, Version: "1.4", Release: "2", Arch: "x86_64"}
	for _, url := range []string{server.URL, "file://" + dir} {
		to := t.TempDir()
		got, err := s.Download(t.Context(), []solve.Source{source("seed", url)}, []solve.Package{greet, hello}, to, nil)
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		if len(got) != 2 || got[0].Package != hello || got[1].Package != greet {
			t.Fatalf("%s: got %v", url, got)
		}
		for _, f := range got {
			if info, err := os.Stat(f.Path); err != nil || info.Size() != f.Size || filepath.Dir(f.Path) != to ||
				!strings.HasPrefix(f.Checksum, "sha256:") || f.Built.Unix() != rpmtest.Built || f.Source != "seed" {
				t.Errorf("%s: %+v, %v", url, f, err)
			}
		}
	}
	gone := hello
	gone.Release = "4"
	if _, err := s.Download(t.Context(), []solve.Source{source("seed", server.URL)}, []solve.Package{gone}, t.TempDir(), nil); sdk.CodeOf(err) != sdk.Invalid ||
		!strings.Contains(err.Error(), "hello-0:1.1-4.x86_64") {
		t.Errorf("a package that is gone: %v", err)
	}
	// A package that is not what the metadata says.
	name := filepath.Join(dir, "hello-1.1-3.x86_64.rpm")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{server.URL, "file://" + dir} {
		_, err := s.Download(t.Context(), []solve.Source{source("seed", url)}, []solve.Package{hello}, t.TempDir(), nil)
		if err == nil || !strings.Contains(err.Error(), "hello-1.1-3.x86_64") {
			t.Errorf("%s: a damaged package: %v", url, err)
		}
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	s := newSolver(t)
	real.Need(t, "gpg", "rpmsign")
	dir, keys := t.TempDir(), t.TempDir()
	rpmtest.Make(t, dir, rpmtest.RPM{Name: "signed", Version: "1", Release: "1"}, rpmtest.RPM{Name: "unsigned", Version: "1", Release: "1"})
	rpmtest.Sign(t, keys, "good", filepath.Join(dir, "signed-1-1.noarch.rpm"))
	other := t.TempDir()
	rpmtest.Sign(t, other, "other", filepath.Join(func() string {
		d := t.TempDir()
		rpmtest.Make(t, d, rpmtest.RPM{Name: "x", Version: "1", Release: "1"})
		return d
	}(), "x-1-1.noarch.rpm"))
	rpmtest.Index(t, dir)
	signed := solve.Package{Name: "signed", Version: "1", Release: "1", Arch: "noarch"}
	unsigned := solve.Package{Name: "unsigned", Version: "1", Release: "1", Arch: "noarch"}
	for _, c := range []struct {
		name    string
		keys    []string
		unknown bool
		want    solve.Package
		err     string
	}{
		{"a package signed by the key", []string{keys + "/key.asc"}, false, signed, ""},
		{"a package signed by one of the keys", []string{other + "/key.asc", keys + "/key.asc"}, false, signed, ""},
		{"a package signed by another key", []string{other + "/key.asc"}, false, signed, "package signed-1-1.noarch from source s: signature check failed"},
		{"a package without a signature", []string{keys + "/key.asc"}, false, unsigned, "package unsigned-1-1.noarch from source s: signature check failed"},
		{"no key", nil, false, signed, "gpgkey_urls names no key"},
		{"a key that is none", []string{dir + "/unsigned-1-1.noarch.rpm"}, false, signed, "has no usable key"},
		{"a key that is missing", []string{dir + "/nosuch"}, true, signed, "nosuch cannot be loaded"},
	} {
		src := source("s", "file://"+dir)
		src.CheckGPG = true
		for _, k := range c.keys {
			src.GPGKeyURLs = append(src.GPGKeyURLs, "file://"+k)
		}
		_, err := s.Download(t.Context(), []solve.Source{src}, []solve.Package{c.want}, t.TempDir(), nil)
		code := sdk.Invalid
		if c.unknown {
			code = sdk.Unavailable
		}
		switch {
		case c.err == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || sdk.CodeOf(err) != code):
			t.Errorf("%s: got %v (%s), want %q", c.name, err, sdk.CodeOf(err), c.err)
		}
	}
}
