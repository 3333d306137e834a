// Package rpmtest makes real RPM repositories for tests: packages by rpmbuild,
// metadata by createrepo_c, served over HTTP on loopback.
package rpmtest

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// Built is when every package says that it was built.
const Built = 1700000000

// Change is the newest entry of every package's changelog.
const Change = "made for tests"

// RPM is a package to be made. It requires and provides what is said here and
// nothing that rpmbuild finds out.
type RPM struct {
	Name, Version, Release string
	Epoch                  int
	// Arch is "noarch" or "x86_64"; empty is noarch.
	Arch                                      string
	Summary, Description, License, URL        string
	Provides, Requires, Conflicts, Recommends []string
	Files                                     []File
	Pre, Post                                 string // scriptlets in Lua, which rpm brings along
}

// File is a file, a directory or a link of a package.
type File struct {
	Path    string
	Content string
	Mode    os.FileMode // permission bits with setuid and so on as chmod has them; 0 is 0644, 0755 or 0777
	Owner   string      // "user:group"; empty is root's
	Link    string      // makes it a symbolic link
	Dir     bool
	Config  bool
	Caps    string // capabilities, such as "cap_net_raw=p"
}

// Dirs returns directories of mode 0755.
func Dirs(paths ...string) []File {
	var files []File
	for _, p := range paths {
		files = append(files, File{Path: p, Dir: true})
	}
	return files
}

// Text returns a file of mode 0644.
func Text(path, content string) File { return File{Path: path, Content: content} }

// Link returns a symbolic link.
func Link(path, target string) File { return File{Path: path, Link: target} }

// Make builds the packages and puts them in dir.
func Make(t testing.TB, dir string, rpms ...RPM) {
	t.Helper()
	real.Need(t, "rpmbuild")
	if err := build(dir, rpms); err != nil {
		t.Fatal(err)
	}
}

// build packs as many packages into one run of rpmbuild as do not share a name
// or a path, because a run takes long and a package in it does not.
func build(dir string, rpms []RPM) error {
	type round struct {
		rpms  []RPM
		taken map[string]bool
	}
	var rounds []*round
next:
	for _, r := range rpms {
		for _, into := range rounds {
			if !slices.ContainsFunc(claims(r), func(c string) bool { return into.taken[c] }) {
				into.rpms = append(into.rpms, r)
				for _, c := range claims(r) {
					into.taken[c] = true
				}
				continue next
			}
		}
		rounds = append(rounds, &round{[]RPM{r}, make(map[string]bool)})
		for _, c := range claims(r) {
			rounds[len(rounds)-1].taken[c] = true
		}
	}
	for _, r := range rounds {
		if err := rpmbuild(dir, r.rpms); err != nil {
			return err
		}
	}
	return nil
}

func claims(r RPM) []string {
	c := []string{r.Name}
	for _, f := range r.Files {
		if !f.Dir {
			c = append(c, f.Path)
		}
	}
	return c
}

func rpmbuild(dir string, rpms []RPM) error {
	top, err := os.MkdirTemp("", "rpmtest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	var spec strings.Builder
	spec.WriteString("%global debug_package %{nil}\n%global __os_install_post %{nil}\n%global _build_id_links none\n" +
		"Name: rpmtest\nVersion: 1\nRelease: 1\nSummary: carrier\nLicense: none\n%description\ncarrier\n")
	links := make(map[string]string)
	for _, r := range rpms {
		preamble(&spec, r)
		for _, f := range r.Files {
			where := filepath.Join(top, "root", f.Path)
			if err := os.MkdirAll(filepath.Dir(where), 0o755); err != nil {
				return err
			}
			switch {
			case f.Dir:
				err = os.MkdirAll(where, 0o755)
			case f.Link != "":
				links[f.Path] = f.Link
			default:
				err = os.WriteFile(where, []byte(f.Content), 0o644)
			}
			if err != nil {
				return err
			}
		}
	}
	spec.WriteString("%install\nmkdir -p %{buildroot}\ncp -a " + top + "/root/. %{buildroot}/\n")
	for _, p := range slices.Sorted(maps.Keys(links)) {
		fmt.Fprintf(&spec, "mkdir -p %%{buildroot}%s\nln -s '%s' '%%{buildroot}%s'\n", path.Dir(p), links[p], p)
	}
	fmt.Fprintf(&spec, "find %%{buildroot} -exec touch -h -d @%d {} +\n", Built)
	spec.WriteString("%changelog\n" +
		"* Tue Nov 14 2023 Packager <packager@example.org> - 2-1\n- " + Change + "\n\n" +
		"* Mon Nov 13 2023 Packager <packager@example.org> - 1-1\n- the first\n")
	if err := os.MkdirAll(filepath.Join(top, "root"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(top, "t.spec"), []byte(spec.String()), 0o644); err != nil {
		return err
	}
	cmd := exec.Command("rpmbuild", "-bb", "--quiet", "--nodeps", "--define", "_topdir "+top, "--define", "_rpmdir "+dir,
		"--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", "--define", "_binary_payload w1.gzdio",
		"--define", "_dbpath "+top+"/db", "--define", "use_source_date_epoch_as_buildtime 1", "--define", "_buildhost rpmtest",
		"--target", "x86_64", filepath.Join(top, "t.spec"))
	cmd.Env = append(os.Environ(), "HOME="+top, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", Built))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("rpmbuild: %v\n%s\n%s", err, out, spec.String())
	}
	return nil
}

func preamble(spec *strings.Builder, r RPM) {
	or := func(s, other string) string {
		if s == "" {
			return other
		}
		return s
	}
	fmt.Fprintf(spec, "%%package -n %s\nSummary: %s\nVersion: %s\nRelease: %s\nLicense: %s\nAutoReqProv: no\n",
		r.Name, or(r.Summary, "the package "+r.Name), r.Version, r.Release, or(r.License, "MIT"))
	if r.Epoch != 0 {
		fmt.Fprintf(spec, "Epoch: %d\n", r.Epoch)
	}
	if r.URL != "" {
		fmt.Fprintf(spec, "URL: %s\n", r.URL)
	}
	if or(r.Arch, "noarch") == "noarch" {
		spec.WriteString("BuildArch: noarch\n")
	}
	for tag, values := range map[string][]string{"Provides": r.Provides, "Requires": r.Requires, "Conflicts": r.Conflicts, "Recommends": r.Recommends} {
		for _, v := range values {
			fmt.Fprintf(spec, "%s: %s\n", tag, v)
		}
	}
	fmt.Fprintf(spec, "%%description -n %s\n%s\n", r.Name, or(r.Description, "What "+r.Name+" is for."))
	for name, body := range map[string]string{"pre": r.Pre, "post": r.Post} {
		if body != "" {
			fmt.Fprintf(spec, "%%%s -n %s -p <lua>\n%s\n", name, r.Name, body)
		}
	}
	fmt.Fprintf(spec, "%%files -n %s\n", r.Name)
	for _, f := range r.Files {
		user, group := "root", "root"
		if f.Owner != "" {
			user, group, _ = strings.Cut(f.Owner, ":")
		}
		mode := fmt.Sprintf("%04o", f.Mode)
		switch {
		case f.Mode != 0:
		case f.Dir:
			mode = "0755"
		default:
			mode = "0644"
		}
		if f.Link != "" {
			mode = "-"
		}
		flags := ""
		if f.Dir {
			flags = "%dir "
		}
		if f.Config {
			flags += "%config(noreplace) "
		}
		if f.Caps != "" {
			flags += "%caps(" + f.Caps + ") "
		}
		fmt.Fprintf(spec, "%s%%attr(%s,%s,%s) %s\n", flags, mode, user, group, f.Path)
	}
}
