package main

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/config"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/core/store"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls/tlstest"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// examinee is who the doctor looks at: a configuration, its environment, and a
// directory for temporary files of its own.
type examinee struct {
	*process
	temporary string
	// secrets must not be in anything that is printed.
	secrets canaries
}

// newExaminee has a configuration with few plugins and extra blocks, and a data
// directory that is not there yet.
func newExaminee(t *testing.T, extra string, env ...string) *examinee {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return examineeWith(t, fmt.Sprintf(`server { plugin_dir = %q }
identity "none" {}
database { url = env("IIB_DATABASE_URL", "") }
redis { url = env("IIB_REDIS_URL", "") }
queue "default" {}
plugin "index-add" { kind = "handler" }
plugin "image-builder" { kind = "builder" }
`, filepath.Join(bin, "plugins"))+extra, env...)
}

// ownRegistryBlock is the registry that the shipped configuration has.
const ownRegistryBlock = `plugin "registry" {
  kind   = "service"
  mounts = ["/v2/", "/api/v1/repository/"]
}
`

func examineeWith(t *testing.T, config string, env ...string) *examinee {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	// A socket's address must be short, which a test's directory need not be.
	temporary, err := os.MkdirTemp("", "iib-doctor-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(temporary) })
	file := filepath.Join(t.TempDir(), "iib.hcl")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	env = append([]string{"TMPDIR=" + temporary, "IIB_LISTEN=" + loopback.Address(t)}, env...)
	return &examinee{
		process:   &process{t: t, bin: bin, config: file, dataDir: filepath.Join(t.TempDir(), "data"), env: env},
		temporary: temporary,
	}
}

// examine runs the doctor in both forms of output, and sees to it that it leaves
// nothing behind and tells no secret.
func (p *examinee) examine() report {
	p.t.Helper()
	before := snapshot(p.t, filepath.Dir(p.dataDir))
	var r report
	stdout, stderr, code := p.cli("doctor", "--config", p.config, "--output", "json")
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		p.t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	if want := map[bool]int{true: exitOK, false: exitFault}[r.Healthy]; code != want || r.Healthy != (r.count(levelWrong) == 0) {
		p.t.Errorf("healthy: %v, exit code %d: %s%s", r.Healthy, code, stdout, stderr)
	}
	if found := p.secrets.in([]byte(stdout + stderr)); len(found) > 0 {
		p.t.Errorf("the output has %v:\n%s%s", found, stdout, stderr)
	}
	if diff := cmp.Diff(before, snapshot(p.t, filepath.Dir(p.dataDir))); diff != "" {
		p.t.Errorf("files were changed: %s", diff)
	}
	if left := snapshot(p.t, p.temporary); len(left) > 0 {
		p.t.Errorf("temporary files are left: %v", left)
	}
	if pids := holding(p.temporary); len(pids) > 0 {
		p.t.Errorf("processes are left: %v", pids)
	}
	for _, f := range r.Checks {
		if f.Level == levelWrong && f.Advice == "" && f.Check != "configuration" && !strings.HasPrefix(f.Check, "plugin") {
			p.t.Errorf("there is no advice: %+v", f)
		}
	}
	return r
}

// snapshot is every file below a directory, with its size and time.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files[path] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// holding returns the processes with a directory in their environment.
func holding(dir string) (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil && strings.Contains(string(data), dir) {
			pids = append(pids, filepath.Base(filepath.Dir(file)))
		}
	}
	return pids
}

// wants demands a finding of a check with a level and words in it.
func (p *examinee) wants(r report, l level, check string, words ...string) {
	p.t.Helper()
next:
	for _, f := range r.Checks {
		if f.Level != l || f.Check != check {
			continue
		}
		for _, word := range words {
			if !strings.Contains(f.Detail+" → "+f.Advice, word) {
				continue next
			}
		}
		return
	}
	p.t.Errorf("no finding %q of %s has %q:\n%s", l, check, words, p.text(r))
}

func (p *examinee) text(r report) string {
	var b strings.Builder
	if err := r.writeText(&b); err != nil {
		p.t.Fatal(err)
	}
	return b.String()
}

// alone demands that nothing but one check is wrong.
func (p *examinee) alone(r report, check string) {
	p.t.Helper()
	for _, f := range r.Checks {
		if f.Level == levelWrong && f.Check != check {
			p.t.Errorf("%s is wrong too: %s", f.Check, f.Detail)
		}
	}
}

func TestTheDoctorFindsAHealthyEngine(t *testing.T) {
	t.Parallel()
	p := examineeWith(t, shippedWithout(t, "#   check it:    bin/iib validate iib.hcl\n"))
	r := p.examine()
	if !r.Healthy || r.count(levelWarning) > 0 {
		t.Errorf("before the first start:\n%s", p.text(r))
	}
	p.wants(r, levelOK, "database", "SQLite", "will be made at the first start")
	p.wants(r, levelOK, "redis", "embedded")
	p.wants(r, levelOK, "registry", "embedded", "when the server runs")
	p.wants(r, levelOK, "plugin index-add", "handler", "sha256:")
	p.wants(r, levelOK, "disk", "data directory", "will be made at the first start", "GiB free")
	p.wants(r, levelOK, "secrets", "will be made at the first start")
	p.wants(r, levelOK, "listen", "is free")
	var order []string
	for _, f := range r.Checks {
		if name := strings.Fields(f.Check)[0]; len(order) == 0 || order[len(order)-1] != name {
			order = append(order, name)
		}
	}
	if diff := cmp.Diff([]string{"configuration", "database", "redis", "registry", "plugin", "disk", "clock", "secrets", "identity", "listen"}, order); diff != "" {
		t.Error(diff)
	}

	// Beside a running engine, the doctor sees what that has.
	running := startServer(t, "")
	q := *p
	q.config, q.dataDir = running.config, running.dataDir
	q.env = append(q.env, "IIB_LISTEN="+strings.TrimPrefix(running.url, "http://"))
	stdout := q.want(exitOK, nil, "doctor", "--config", q.config)
	for _, line := range []string{"ok           database", "migration", "ok           listen", "an engine that is ready", "a push to it is accepted", "no request has secrets"} {
		if !strings.Contains(stdout, line) {
			t.Errorf("beside a running engine there is no %q:\n%s", line, stdout)
		}
	}
	if uploads, _ := filepath.Glob(filepath.Join(running.dataDir, "plugins", "registry", "uploads", "*")); len(uploads) > 0 {
		t.Errorf("uploads are left: %v", uploads)
	}
	running.stop()
	if r := q.examine(); !r.Healthy {
		t.Errorf("after the end of an engine:\n%s", q.text(r))
	}
}

func TestTheDoctorReportsAConfigurationThatCannotBeRead(t *testing.T) {
	t.Parallel()
	p := newExaminee(t, "queue \"default\" { concurency = 4 }\n")
	r := p.examine()
	p.wants(r, levelWrong, "configuration", "iib.hcl:", "concurrency")
	for _, name := range []string{"database", "redis", "registry", "plugins", "disk", "clock", "secrets", "listen"} {
		p.wants(r, levelUnchecked, name, "the configuration has mistakes")
	}

	// A file that is missing is a mistake that hides nothing.
	p = newExaminee(t, "secrets { key_file = \"/nowhere/key\" }\n")
	r = p.examine()
	p.wants(r, levelWrong, "configuration", "/nowhere/key")
	p.wants(r, levelWrong, "secrets", "/nowhere/key")
	p.wants(r, levelOK, "plugin index-add")
}

func TestTheDoctorLooksAtTheBucket(t *testing.T) {
	t.Parallel()
	s3, authority := coretest.StartS3(t), tlstest.New(t)
	server := httptest.NewUnstartedServer(s3)
	server.TLS = authority.Server()
	server.TLS.ClientAuth = tls.NoClientCert
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // a handshake fails on purpose
	server.StartTLS()
	t.Cleanup(server.Close)
	look := func(settings string) (*examinee, report) {
		p := newExaminee(t, ownRegistryBlock+fmt.Sprintf("artifacts {\n  s3 {\n    bucket = %q\n    region = \"us-east-1\"\n    endpoint = %q\n    access_key = env(\"KEY\")\n    secret_key = env(\"SECRET\")\n    %s\n  }\n}\n",
			s3.Bucket, server.URL, settings), "KEY="+s3.AccessKey, "SECRET="+s3.SecretKey)
		p.secrets = canaries{"the access key": s3.AccessKey, "the secret key": s3.SecretKey}
		return p, p.examine()
	}
	p, r := look(fmt.Sprintf("ca_file = %q", authority.CA))
	p.wants(r, levelOK, "bucket", s3.Bucket+" can be listed")
	p.alone(r, "")
	p, r = look("")
	p.wants(r, levelWrong, "bucket", "certificate", "ca_file")
	p.alone(r, "bucket")
	p, r = look(`ca_file = "/nowhere/ca.pem"`)
	p.wants(r, levelWrong, "configuration", "ca_file", "/nowhere/ca.pem")
	p.wants(r, levelWrong, "bucket", "/nowhere/ca.pem")
}

func TestTheDoctorLooksAtPostgres(t *testing.T) {
	t.Parallel()
	server := coretest.StartPostgres(t)
	database := server.Database()
	address, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	look := func(database string) (*examinee, report) {
		p := newExaminee(t, ownRegistryBlock, "IIB_DATABASE_URL="+database)
		p.secrets = canaries{"the password": password, "a wrong password": "canary-wrong-77af"}
		return p, p.examine()
	}
	p, r := look(database)
	p.wants(r, levelOK, "database", "PostgreSQL ", "migration 0 of", "will be made at the first start", "ms")
	p.wants(r, levelOK, "clock", "the database")
	if tables := server.Query(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"); tables[0] != "0" {
		t.Errorf("the doctor made %s tables", tables[0])
	}
	keys, err := loadKeys(config.Secrets{Key: sdk.Secret(strings.Repeat("5e", 32))})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), database, store.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, r = look(database)
	p.wants(r, levelOK, "database", "PostgreSQL ", "ms")
	p.alone(r, "")

	newest, err := strconv.Atoi(server.Query(database, "SELECT max(version) FROM migrations")[0])
	if err != nil {
		t.Fatal(err)
	}
	server.Query(database, fmt.Sprintf("DELETE FROM migrations WHERE version = %d", newest))
	p, r = look(database)
	p.wants(r, levelNote, "database", fmt.Sprintf("migration %d of %d", newest-1, newest), "the next start migrates it")
	server.Query(database, fmt.Sprintf("INSERT INTO migrations (version, name, time, oldest) VALUES (99, 'later', 0, %d)", newest))
	p, r = look(database)
	p.wants(r, levelNote, "database", fmt.Sprintf("migration 99 of %d", newest), "this one works on it too")
	server.Query(database, "UPDATE migrations SET oldest = 98 WHERE version = 99")
	p, r = look(database)
	p.wants(r, levelWrong, "database", fmt.Sprintf("migration 99 of %d", newest), "at least migration 98", "restore a backup")
	p.alone(r, "database")
	server.Query(database, "DELETE FROM migrations WHERE version = 99")
	name := strings.TrimPrefix(address.Path, "/")
	server.Query(database, "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
	p, r = look(database)
	p.wants(r, levelWrong, "database", "read-only")

	address.User = url.UserPassword("iib", "canary-wrong-77af")
	p, r = look(address.String())
	p.wants(r, levelWrong, "database", "password authentication failed", "database.url")
	p.wants(r, levelUnchecked, "clock", "database")
	p.wants(r, levelUnchecked, "secrets", "database")
	p.alone(r, "database")

	server.Signal(syscall.SIGSTOP)
	p, r = look(database)
	server.Signal(syscall.SIGCONT)
	p.wants(r, levelWrong, "database", "no answer within "+answerLimit.String())
	p.wants(r, levelOK, "plugin index-add")
	server.Kill()
	p, r = look(database)
	p.wants(r, levelWrong, "database", "refused", "check that the server of database.url runs")
	p.alone(r, "database")
}

func TestTheDoctorLooksAtRedis(t *testing.T) {
	t.Parallel()
	server := coretest.NewRedis(t)
	do := func(command string) {
		t.Helper()
		if _, err := server.Do(command); err != nil {
			t.Fatal(err)
		}
	}
	const password = "canary-redis-1c22"
	look := func(url string) (*examinee, report) {
		p := newExaminee(t, ownRegistryBlock, "IIB_REDIS_URL="+url)
		p.secrets = canaries{"the password": password}
		return p, p.examine()
	}
	p, r := look(server.URL())
	p.wants(r, levelOK, "redis", "Redis ", "ms")
	p.wants(r, levelNote, "redis", "append-only", "filled again from the database")
	p.alone(r, "")
	if keys, err := server.Do("DBSIZE"); err != nil || keys != ":0" {
		t.Errorf("the doctor left keys: %s %v", keys, err)
	}
	do("CONFIG SET maxmemory-policy allkeys-lru")
	p, r = look(server.URL())
	p.wants(r, levelWarning, "redis", "allkeys-lru", "noeviction")
	p.alone(r, "")
	do("CONFIG SET requirepass secret-of-the-server")
	p, r = look(strings.Replace(server.URL(), "://", "://:"+password+"@", 1))
	p.wants(r, levelWrong, "redis", "refuses the credentials", "password in redis.url")
	p, r = look(server.URL())
	p.wants(r, levelWrong, "redis", "refuses the credentials")
	server.Kill()
	p, r = look(server.URL())
	p.wants(r, levelWrong, "redis", "does not answer", "check that the server of redis.url runs")
	p.alone(r, "redis")
}

// uploadTaker is a registry that takes uploads of somebody, and has a clock of its own.
type uploadTaker struct {
	host               string
	ahead              time.Duration
	uploads, cancelled atomic.Int64
}

func newUploadTaker(t *testing.T, password string) *uploadTaker {
	p := new(uploadTaker)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(p.ahead).UTC().Format(http.TimeFormat))
		if _, given, _ := r.BasicAuth(); given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.Method {
		case http.MethodPost:
			p.uploads.Add(1)
			w.Header().Set("Location", r.URL.Path+"one")
			w.WriteHeader(http.StatusAccepted)
		case http.MethodDelete:
			p.cancelled.Add(1)
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(server.Close)
	p.host = strings.TrimPrefix(server.URL, "http://")
	return p
}

func TestTheDoctorLooksAtTheRegistry(t *testing.T) {
	t.Parallel()
	const password = "canary-registry-90be"
	registry := newUploadTaker(t, password)
	look := func(password string) (*examinee, report) {
		auths := filepath.Join(t.TempDir(), "auth.json")
		if err := os.WriteFile(auths, fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, registry.host, base64.StdEncoding.EncodeToString([]byte("engine:"+password))), 0o600); err != nil {
			t.Fatal(err)
		}
		p := newExaminee(t, fmt.Sprintf("registry {\n  address = %q\n  auth_file = %q\n}\n", registry.host, auths))
		p.secrets = canaries{"the password": password}
		return p, p.examine()
	}
	p, r := look(password)
	p.wants(r, levelOK, "registry", "a push to "+registry.host+" is accepted")
	p.wants(r, levelOK, "clock", "registry")
	p.alone(r, "")
	if uploads, cancelled := registry.uploads.Load(), registry.cancelled.Load(); uploads != 1 || cancelled != 1 {
		t.Errorf("%d uploads, %d cancelled", uploads, cancelled)
	}
	p, r = look("canary-other-11aa")
	p.wants(r, levelWrong, "registry", "access denied", "registry.auth_file")
	p.wants(r, levelUnchecked, "clock", "registry")
	p.alone(r, "registry")
	registry.ahead = time.Hour
	p, r = look(password)
	p.wants(r, levelWarning, "clock", "registry is", "ahead of this machine's", "tokens seem expired", "time server")
	registry.ahead = -time.Minute
	p, r = look(password)
	p.wants(r, levelWarning, "clock", "registry is 1m", "behind this machine's")
	registry.host = loopback.Address(t)
	p, r = look(password)
	p.wants(r, levelWrong, "registry", "refused", "check that the registry runs")
	p.alone(r, "registry")

	none := newExaminee(t, "")
	none.wants(none.examine(), levelWrong, "registry", "there is no registry", "registry.address")
}

func TestTheDoctorStartsPlugins(t *testing.T) {
	t.Parallel()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	script := func(text string) string {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	gate := func(name, rest string) string {
		return fmt.Sprintf("plugin %q {\n  kind = \"gate\"\n  %s\n}\n", name, rest)
	}
	p := newExaminee(t, gate("gone", `path = "/nowhere/gone"`)+
		gate("changed", fmt.Sprintf("path = %q\n  checksum = \"sha256:%s\"", filepath.Join(bin, "plugins", "greenwave"), strings.Repeat("ab", 32)))+
		gate("silent", fmt.Sprintf("path = %q", script("#!/bin/sh\nexec sleep 1000\n")))+
		gate("dying", fmt.Sprintf("path = %q", script("#!/bin/sh\necho its last words >&2\nexit 3\n")))+
		gate("mistaken", fmt.Sprintf("path = %q\n  config {\n    url = \"ftp://greenwave\"\n  }", filepath.Join(bin, "plugins", "greenwave")))+
		gate("other", fmt.Sprintf("path = %q", filepath.Join(bin, "plugins", "image-builder")))+
		"plugin \"tellers\" {\n  kind = \"notifier\"\n  path = \"amqp-notify\"\n  config {\n    urls = [env(\"IIB_TEST_BROKER\")]\n    build_destination = \"b\"\n  }\n}\n",
		"IIB_TEST_BROKER=amqps://iib:canary-broker-6d0e@broker")
	p.secrets = canaries{"a plugin's password": "canary-broker-6d0e"}
	r := p.examine()
	p.wants(r, levelWrong, "plugin gone", "/nowhere/gone", "correct its path")
	p.wants(r, levelWrong, "plugin changed", "Wrong checksum", "If you trust the file")
	p.wants(r, levelWrong, "plugin silent", "no answer within "+trialLimit.String())
	p.wants(r, levelWrong, "plugin dying", "its last words")
	p.wants(r, levelWrong, "plugin mistaken", "iib.hcl:", "url")
	p.wants(r, levelWrong, "plugin other", "is no gate")
	p.wants(r, levelWrong, "plugin tellers", "iib.hcl:", "username and password")
	p.wants(r, levelOK, "plugin index-add")
	p.wants(r, levelOK, "listen")
}

func TestTheDoctorLooksAtDisks(t *testing.T) {
	t.Parallel()
	p := newExaminee(t, ownRegistryBlock)
	p.dataDir = real.Disk(t, 64<<20)
	r := p.examine()
	p.wants(r, levelWrong, "disk", "data directory "+p.dataDir, "64 MiB are free, and 1024 are needed", "make room")
	p.alone(r, "disk")
	if err := unix.Mount("", p.dataDir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	r = p.examine()
	p.wants(r, levelWrong, "disk", "work directory", p.dataDir+" cannot be written", "read-only")

	q := newExaminee(t, ownRegistryBlock)
	if err := os.WriteFile(q.dataDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	q.wants(q.examine(), levelWrong, "disk", "data directory", "is a file")
}

func TestTheDoctorTriesTheKeyOnWhatIsSealed(t *testing.T) {
	t.Parallel()
	right, other := strings.Repeat("5e", 32), strings.Repeat("6f", 32)
	p := newExaminee(t, ownRegistryBlock+"secrets {\n  key = env(\"IIB_TEST_KEY\")\n}\n")
	p.secrets = canaries{"the key": right, "the other key": other}
	keys, err := loadKeys(config.Secrets{Key: sdk.Secret(right)})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.dataDir, "iib.db")
	s, err := store.Open(t.Context(), "sqlite:"+file, store.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Create(t.Context(), &core.NewBatch{Requests: []core.NewRequest{{
		Type: "add", Queue: "default", Secrets: map[string]sdk.Secret{"cnr_token": "canary-sealed-0d1f"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	env := p.env
	p.env = append(env, "IIB_TEST_KEY="+right)
	r := p.examine()
	p.wants(r, levelOK, "secrets", "opens the secrets of all 1")
	p.alone(r, "")
	p.env = append(env, "IIB_TEST_KEY="+other)
	r = p.examine()
	p.wants(r, levelWrong, "secrets", "1 of 1", "secrets.previous_keys")
	p.alone(r, "secrets")

	lost := newExaminee(t, ownRegistryBlock)
	lost.dataDir = p.dataDir
	lost.wants(lost.examine(), levelWrong, "secrets", "is not there, and 1 requests", "put back the key file")
}

func TestTheDoctorTriesTheAddresses(t *testing.T) {
	t.Parallel()
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	p := newExaminee(t, ownRegistryBlock)
	p.env = append(p.env, "IIB_LISTEN="+strings.TrimPrefix(stranger.URL, "http://"))
	r := p.examine()
	p.wants(r, levelWrong, "listen", "is taken", "answers /readyz with 404 and is no engine", "server.listen")
	p.alone(r, "listen")

	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	p.env = append(p.env, "IIB_LISTEN="+mute.Addr().String())
	r = p.examine()
	p.wants(r, levelWrong, "listen", "does not answer as an engine does")

	// An engine with a plugin that does not run is one, and is not ready.
	sick := startWith(t, shippedWithout(t, "#   check it:    bin/iib validate iib.hcl\n"), t.TempDir())
	text, err := os.ReadFile(sick.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sick.config, append(text, "plugin \"broken\" {\n  kind = \"gate\"\n  path = \"/bin/false\"\n}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	sick.want(exitOK, nil, "plugin", "reload", "--config", sick.config)
	for range poll(t) {
		if status, _ := sick.get("/readyz"); status == http.StatusServiceUnavailable {
			break
		}
	}
	q := newExaminee(t, ownRegistryBlock)
	q.env = append(q.env, "IIB_LISTEN="+strings.TrimPrefix(sick.url, "http://"))
	q.wants(q.examine(), levelWrong, "listen", "is not ready: plugins: these plugins do not run: broken")
}
