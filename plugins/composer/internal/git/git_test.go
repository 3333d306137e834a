package git_test

import (
	"bufio"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/gateway"
	"github.com/iib-engine/iib/plugins/composer/internal/git"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls/tlstest"
	"github.com/iib-engine/iib/sdk/denied"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// programs are where git keeps its servers.
const programs = "/usr/lib/git-core/"

// origin makes a repository, below a directory that is named like a host.
func origin(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	repo := filepath.Join(root, "127.0.0.1", "repo")
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	run("init", "--quiet", repo)
	run("-C", repo, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--allow-empty", "-m", "one")
	return root
}

// overHTTP serves repositories as a forge does.
func overHTTP(root string) http.Handler {
	return &cgi.Handler{
		Path: programs + "git-http-backend", Stderr: new(strings.Builder),
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	}
}

// overGit serves repositories by git's own protocol, for each host others.
func overGit(t *testing.T, root string) string {
	t.Helper()
	return loopback.Serve(t, func(conn *net.TCPConn) {
		file, err := conn.File()
		if err != nil {
			return
		}
		defer file.Close()
		cmd := exec.Command(programs+"git-daemon", "--inetd", "--export-all", "--interpolated-path="+root+"/%H%D", root)
		cmd.Stdin, cmd.Stdout = file, file
		_ = cmd.Run()
	})
}

// clone clones and returns what git and its gateway say.
func clone(t *testing.T, way gateway.Way, repo string) (failure error, fault *sdk.Error) {
	t.Helper()
	dir := t.TempDir()
	g, err := git.Open(way, dir, repo)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	command := g.Command("clone", "--quiet", "--bare", "--", g.Address, filepath.Join(dir, "clone"))
	config, err := os.ReadFile(filepath.Join(dir, "gitconfig"))
	if err != nil {
		t.Fatal(err)
	}
	pass := regexp.MustCompile(`http://(\w+):(\w+)@`).FindSubmatch(config)
	if said := strings.Join(append(command.Args, command.Env...), " "); strings.Contains(said, string(pass[1])) || strings.Contains(said, string(pass[2])) {
		t.Errorf("the pass can be seen in %s", said)
	}
	return command.Run(t.Context()), g.Fault()
}

func TestClone(t *testing.T) {
	real.Need(t, "git", "ssh", programs+"git-http-backend", programs+"git-daemon")
	root := origin(t)
	var plain *httptest.Server
	plain = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/away/"); ok {
			http.Redirect(w, r, strings.Replace(plain.URL, "127.0.0.1", "127.0.0.2", 1)+"/"+rest+"?"+r.URL.RawQuery, http.StatusFound)
			return
		}
		overHTTP(root).ServeHTTP(w, r)
	}))
	t.Cleanup(plain.Close)
	authority := tlstest.New(t)
	secure := httptest.NewUnstartedServer(overHTTP(root))
	secure.TLS = authority.Server()
	secure.TLS.ClientAuth = tls.NoClientCert
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	daemon := overGit(t, root)
	banners := make(chan string, 8)
	shell := loopback.Serve(t, func(conn *net.TCPConn) {
		banner, _ := bufio.NewReader(conn).ReadString('\n')
		banners <- banner
	})

	free, all := gateway.Way{Rule: denied.List{"127.0.0.2/32"}, CAFile: authority.CA}, gateway.Way{Rule: denied.List{"127.0.0.0/8"}, CAFile: authority.CA}
	for name, repo := range map[string]string{
		"http":  plain.URL + "/127.0.0.1/repo",
		"https": secure.URL + "/127.0.0.1/repo",
		"git":   "git://" + daemon + "/repo",
	} {
		t.Run(name, func(t *testing.T) {
			if err, fault := clone(t, free, repo); err != nil || fault != nil {
				t.Errorf("%v, %v", err, fault)
			}
		})
		t.Run(name+" in a denied network", func(t *testing.T) {
			if err, fault := clone(t, all, repo); err == nil || fault == nil || fault.Code != sdk.Denied {
				t.Errorf("%v, %v", err, fault)
			}
		})
	}
	t.Run("a redirect into a denied network", func(t *testing.T) {
		if err, fault := clone(t, free, plain.URL+"/away/127.0.0.1/repo"); err == nil || fault == nil || !strings.Contains(fault.Message, "denied network 127.0.0.2/32") {
			t.Errorf("%v, %v", err, fault)
		}
	})
	t.Run("an unknown authority", func(t *testing.T) {
		if err, _ := clone(t, gateway.Way{}, secure.URL+"/127.0.0.1/repo"); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%v", err)
		}
	})
	t.Run("ssh", func(t *testing.T) {
		if err, fault := clone(t, free, "ssh://git@"+shell+"/repo"); err == nil || fault != nil {
			t.Errorf("%v, %v", err, fault)
		}
		select {
		case banner := <-banners:
			if !strings.HasPrefix(banner, "SSH-2.0") {
				t.Errorf("the server got %q", banner)
			}
		case <-time.After(time.Minute):
			t.Error("nobody came to the server")
		}
	})
	t.Run("ssh in a denied network", func(t *testing.T) {
		for _, repo := range []string{"ssh://git@" + shell + "/repo", "git@127.0.0.1:repo"} {
			if err, fault := clone(t, all, repo); err == nil || fault == nil || fault.Code != sdk.Denied {
				t.Errorf("%s: %v, %v", repo, err, fault)
			}
		}
	})
	t.Run("a directory", func(t *testing.T) {
		if err, fault := clone(t, all, filepath.Join(root, "127.0.0.1", "repo")); err != nil || fault != nil {
			t.Errorf("%v, %v", err, fault)
		}
	})
}
