package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// certificate makes one for the loopback address, in files, and a client that
// trusts it.
func certificate(t *testing.T, dir string) *http.Client {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
}

const robotRegistry = `plugin "registry" {
  kind               = "service"
  mounts             = ["/v2/", "/api/v1/repository/"]
  pass_authorization = true
  config {
    readers = ["@users"]
    writers = ["team+ci"]
    robot "team+ci" { secret = "battery staple" }
  }
`

// TestRobotsPushOverTLS has a robot log in to the registry of an engine with a
// certificate, and the engine reach its own registry in the same way.
func TestRobotsPushOverTLS(t *testing.T) {
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := shippedWithout(t, "plugin \"registry\" {\n  kind   = \"service\"\n  mounts = [\"/v2/\", \"/api/v1/repository/\"]\n")
	config = strings.Replace(config, "# when registry.address above names another one.\n", "# when registry.address above names another one.\n"+robotRegistry, 1)
	config = strings.Replace(config, "  listen = ", "  tls {\n    cert_file = \"tls.crt\"\n    key_file  = \"tls.key\"\n  }\n  listen = ", 1)
	config = strings.Replace(config, "registry {\n", "registry {\n  auth_file = \"auth.json\"\n", 1)
	p := &process{t: t, dataDir: t.TempDir(), config: filepath.Join(dir, "iib.hcl"), bin: bin, client: certificate(t, dir)}
	for name, text := range map[string]string{"iib.hcl": config, "auth.json": `{"auths": {}}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("the server printed:\n%s", p.stderr)
		}
	})
	host, secure := strings.CutPrefix(p.url, "https://")
	if !secure {
		t.Fatalf("the address is %s", p.url)
	}

	status, header, _ := p.do(http.MethodGet, "/v2/", "", nil)
	challenge := regexp.MustCompile(`^Bearer realm="(https://[^"]+)",service="registry"`).FindStringSubmatch(header.Get("WWW-Authenticate"))
	if status != http.StatusUnauthorized || len(challenge) != 2 || challenge[1] != p.url+"/v2/token" {
		t.Fatalf("%d %q", status, header.Get("WWW-Authenticate"))
	}
	token := func(user, secret string) (int, string) {
		basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
		status, _, body := p.do(http.MethodGet, "/v2/token?service=registry&scope=repository:team/index:pull,push", "",
			map[string]string{"Authorization": "Basic " + basic})
		var answer struct{ Token string }
		_ = json.Unmarshal(body, &answer)
		return status, answer.Token
	}
	if status, _ := token("team+ci", "wrong"); status != http.StatusUnauthorized {
		t.Errorf("a wrong secret: %d", status)
	}
	_, good := token("team+ci", "battery staple")
	push := func(bearer string) int {
		auth := map[string]string{"Authorization": "Bearer " + bearer}
		content := `{"architecture":"amd64","os":"linux"}`
		sum := sha256.Sum256([]byte(content))
		digest := "sha256:" + hex.EncodeToString(sum[:])
		auth["Content-Type"] = "application/octet-stream"
		if status, _, _ := p.do(http.MethodPost, "/v2/team/index/blobs/uploads/?digest="+digest, content, auth); status != http.StatusCreated {
			return status
		}
		const media = "application/vnd.oci.image."
		auth["Content-Type"] = media + "manifest.v1+json"
		manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%smanifest.v1+json","config":{"mediaType":"%sconfig.v1+json","digest":%q,"size":%d},"layers":[]}`,
			media, media, digest, len(content))
		status, _, _ := p.do(http.MethodPut, "/v2/team/index/manifests/v1", manifest, auth)
		return status
	}
	for bearer, want := range map[string]int{"": http.StatusUnauthorized, "x.y": http.StatusUnauthorized, good: http.StatusCreated} {
		if got := push(bearer); got != want {
			t.Errorf("a push with the token %.8q: %d, want %d", bearer, got, want)
		}
	}

	// The engine trusts its own certificate, and needs credentials like others.
	point := "/api/v1/tags/point?tag=" + host + "/team/index:v1"
	if status, body := p.get(point); status == http.StatusOK {
		t.Errorf("the engine read without credentials: %s", body)
	}
	basic := base64.StdEncoding.EncodeToString([]byte("team+ci:battery staple"))
	if err := os.WriteFile(filepath.Join(dir, "auth.json"), fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, host, basic), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, body := p.get(point); status != http.StatusOK || !strings.Contains(string(body), "sha256:") {
		t.Errorf("the engine does not reach its own registry: %d %s", status, body)
	}

	// A new certificate is in force without a restart.
	p.client = certificate(t, dir)
	if status, body := p.get("/api/v1/healthcheck"); status != http.StatusOK {
		t.Errorf("the new certificate: %d %s", status, body)
	}
}
