package main

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// skopeo returns a function that runs Debian's client, which has to succeed,
// and one that has to fail. It skips the test where the program is missing.
func skopeo(t *testing.T) (run, refused func(arguments ...string) string) {
	t.Helper()
	program := real.Program(t, "skopeo")
	policy := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default": [{"type": "insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	call := func(fails bool) func(arguments ...string) string {
		return func(arguments ...string) string {
			t.Helper()
			command := exec.CommandContext(t.Context(), program, append([]string{"--policy", policy}, arguments...)...)
			// Nobody's credentials, and no proxy.
			command.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir()}
			output, err := command.CombinedOutput()
			if (err != nil) != fails {
				t.Fatalf("skopeo %s: %v: %s", strings.Join(arguments, " "), err, output)
			}
			return string(output)
		}
	}
	return call(false), call(true)
}

// rows is a tag's history as the API tells it.
func rows(t *testing.T, host, repository, tag string) (digests []string, reversions []bool) {
	t.Helper()
	resp, err := http.Get("http://" + host + "/api/v1/repository/" + repository + "/tag/?specificTag=" + tag)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var page struct {
		Tags []struct {
			Digest    string `json:"manifest_digest"`
			Reversion bool   `json:"reversion"`
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		t.Fatal(err)
	}
	for _, row := range page.Tags {
		digests, reversions = append(digests, row.Digest), append(reversions, row.Reversion)
	}
	return digests, reversions
}

func TestSkopeo(t *testing.T) {
	run, refused := skopeo(t)
	host := serveRegistry(t, nil)
	index, err := random.Index(2000, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(reference(t, host+"/source/index:v1"), index); err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	target := "docker://" + host + "/target/index:v2"
	dir := "dir:" + t.TempDir()

	t.Run("copies lists out, in, and across", func(t *testing.T) {
		run("copy", "--all", "--src-tls-verify=false", "docker://"+host+"/source/index:v1", dir)
		run("copy", "--all", "--dest-tls-verify=false", dir, target)
		run("copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", target, "docker://"+host+"/across/index:v3")
		for _, ref := range []string{"/target/index:v2", "/across/index:v3"} {
			if got := digestOf(t, reference(t, host+ref)); got != want {
				t.Errorf("%s is %s, want %s", ref, got, want)
			}
		}
	})
	t.Run("copies both formats", func(t *testing.T) {
		if err := remote.Write(reference(t, host+"/source/one:v1"), randomImage(t)); err != nil {
			t.Fatal(err)
		}
		for format, media := range map[string]string{
			"v2s2": "application/vnd.docker.distribution.manifest.v2+json", "oci": "application/vnd.oci.image.manifest.v1+json",
		} {
			spec := host + "/target/one:" + format
			run("copy", "--format", format, "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+host+"/source/one:v1", "docker://"+spec)
			head, err := remote.Head(reference(t, spec))
			if err != nil || string(head.MediaType) != media {
				t.Errorf("%s: %v, %v", format, head, err)
			}
			run("inspect", "--tls-verify=false", "docker://"+spec)
		}
	})
	t.Run("lists tags", func(t *testing.T) {
		var list struct{ Tags []string }
		if err := json.Unmarshal([]byte(run("list-tags", "--tls-verify=false", "docker://"+host+"/target/one")), &list); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"oci", "v2s2"}, list.Tags); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("deletes what the history brings back", func(t *testing.T) {
		run("delete", "--tls-verify=false", target)
		refused("inspect", "--tls-verify=false", target)
		resp, err := http.Post("http://"+host+"/api/v1/repository/target/index/tag/v2/restore", "application/json",
			strings.NewReader(`{"manifest_digest": "`+want.String()+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		run("copy", "--all", "--src-tls-verify=false", target, "dir:"+t.TempDir())
		digests, reversions := rows(t, host, "target/index", "v2")
		if !cmp.Equal(digests, []string{want.String(), want.String()}) || !cmp.Equal(reversions, []bool{true, false}) {
			t.Errorf("history %v %v", digests, reversions)
		}
	})
}

// TestSkopeoLogsInOverTLS has a robot push with TLS and the token service.
func TestSkopeoLogsInOverTLS(t *testing.T) {
	run, refused := skopeo(t)
	s := newService()
	s.Robots = []RobotSettings{{Name: "team+ci", Secret: "battery staple"}}
	s.Repositories = []RepositorySettings{{Pattern: "team/**", Readers: []string{"*"}, Writers: []string{"team+ci"}}}
	server := httptest.NewTLSServer(sdktest.Serve(t, sdk.Plugin{Name: "registry", Doc: "x", Service: s}, nil).Service())
	t.Cleanup(server.Close)
	certs := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(certs, "ca.crt"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	source := serveRegistry(t, nil)
	if err := remote.Write(reference(t, source+"/a/b:v1"), randomImage(t)); err != nil {
		t.Fatal(err)
	}
	from := []string{"--src-tls-verify=false", "docker://" + source + "/a/b:v1"}
	to := "docker://" + strings.TrimPrefix(server.URL, "https://") + "/team/b:v1"
	copied := func(options ...string) []string {
		return append(append(append([]string{"copy"}, options...), from...), to)
	}
	refused(copied("--dest-creds", "team+ci:battery staple")...) // a stranger's certificate
	refused(copied("--dest-cert-dir", certs)...)
	refused(copied("--dest-cert-dir", certs, "--dest-creds", "team+ci:wrong")...)
	run(copied("--dest-cert-dir", certs, "--dest-creds", "team+ci:battery staple")...)
	run("inspect", "--cert-dir", certs, to)
	refused("delete", "--cert-dir", certs, to)
	run("delete", "--cert-dir", certs, "--creds", "team+ci:battery staple", to)
	refused("inspect", "--cert-dir", certs, to)
}
