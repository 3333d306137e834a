package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk/clienttls/tlstest"
)

const (
	rabbitServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	// Debian's Python is the one that Debian's qpid-proton is for.
	python = "/usr/bin/python3"

	brokerUser     = "iib"
	brokerPassword = "correct horse"

	// What the broker has from its start.
	buildQueue = "/amq/queue/iib.build.state"
	batchQueue = "/amq/queue/iib.batch.state"
	// What it does not have, or does not give.
	missing   = "/exchange/missing/to"
	forbidden = "/queue/forbidden"

	patience = 2 * time.Minute
)

// rabbit is a RabbitMQ of the test's own: on loopback, with its files in a
// directory that vanishes. It outlives a kill with what is durable.
type rabbit struct {
	t         testing.TB
	dir       string
	authority *tlstest.Authority

	plainPort, tlsPort, distPort, epmdPort int

	command *exec.Cmd
	exited  chan struct{}
}

// need skips the test without a program, or fails it where CI demands all.
func need(t testing.TB, ok bool, what string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("IIB_REQUIRE_REAL") == "1":
		t.Fatal(what + ", and IIB_REQUIRE_REAL is 1")
	default:
		t.Skip(what)
	}
}

func needProton(t testing.TB) {
	t.Helper()
	need(t, exec.Command(python, "-c", "import proton").Run() == nil, "Qpid Proton is not installed for "+python+" (Debian: python3-qpid-proton)")
}

// shared is the broker: started by the first test that needs it, and ended by TestMain.
var shared struct {
	once sync.Once
	*rabbit
}

// theRabbit returns the broker that tests share. A test that ends it starts it
// again.
func theRabbit(t *testing.T) *rabbit {
	t.Helper()
	_, err := os.Stat(rabbitServer)
	need(t, err == nil, "RabbitMQ is not installed (Debian: rabbitmq-server)")
	needProton(t)
	shared.once.Do(func() { shared.rabbit = newRabbit(suite) })
	shared.rabbit.t = t
	return shared.rabbit
}

// suite stands for the whole run where a testing.TB is asked for.
var suite *suiteTB

// suiteTB cleans up when all tests have ended.
type suiteTB struct {
	testing.TB
	dirs     []string
	cleanups []func()
}

func (*suiteTB) Helper() {}

func (*suiteTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (*suiteTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (s *suiteTB) TempDir() string {
	dir, err := os.MkdirTemp("", "iib-rabbit-")
	if err != nil {
		s.Fatal(err)
	}
	s.dirs = append(s.dirs, dir)
	return dir
}

func (s *suiteTB) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func TestMain(m *testing.M) {
	suite = new(suiteTB)
	code := m.Run()
	for _, f := range suite.cleanups {
		f()
	}
	for _, dir := range suite.dirs {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

func newRabbit(t testing.TB) *rabbit {
	r := &rabbit{t: t, dir: t.TempDir(), authority: tlstest.New(t)}
	for _, port := range []*int{&r.plainPort, &r.tlsPort, &r.distPort, &r.epmdPort} {
		*port = freePort(t)
	}
	r.configure()
	// RabbitMQ's nodes find each other by epmd. This one is the test's own, in
	// the foreground, so that none stays behind.
	epmd := exec.Command("epmd", "-port", fmt.Sprint(r.epmdPort), "-address", "127.0.0.1")
	own(epmd)
	if err := epmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = epmd.Process.Kill()
		_ = epmd.Wait()
	})
	r.start()
	t.Cleanup(r.kill)
	return r
}

// own makes a command's process die with the tests.
func own(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// freePort returns a port that stays free until its server binds it: it is
// below those that the kernel gives to whoever asks for any.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 15000 + rand.IntN(10000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func (r *rabbit) configure() {
	cert, key := r.authority.Issue("broker")
	queue := func(name string) map[string]any {
		return map[string]any{"name": name, "vhost": "/", "durable": true, "auto_delete": false, "arguments": map[string]any{}}
	}
	definitions, err := json.Marshal(map[string]any{
		"vhosts": []any{map[string]any{"name": "/"}},
		"users":  []any{map[string]any{"name": brokerUser, "password": brokerPassword, "tags": ""}},
		"permissions": []any{map[string]any{
			"user": brokerUser, "vhost": "/", "configure": "^iib", "read": ".*", "write": ".*",
		}},
		"queues": []any{queue("iib.build.state"), queue("iib.batch.state")},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for name, content := range map[string]string{
		"definitions.json": string(definitions),
		// Without it, the server starts a helper to look up names.
		"inetrc":  "{lookup, [file]}.\n{host, {127,0,0,1}, [\"localhost\"]}.\n",
		"plugins": "[rabbitmq_amqp1_0, rabbitmq_auth_mechanism_ssl].\n",
		"rabbitmq.config": fmt.Sprintf(`[{rabbit, [
  {tcp_listeners, [{"127.0.0.1", %d}]},
  {ssl_listeners, [{"127.0.0.1", %d}]},
  {ssl_options, [{cacertfile, %q}, {certfile, %q}, {keyfile, %q}, {verify, verify_peer}, {fail_if_no_peer_cert, true}]},
  {ssl_cert_login_from, common_name},
  {auth_mechanisms, ['EXTERNAL', 'PLAIN']},
  {load_definitions, %q},
  {log, [{file, [{file, false}]}, {console, [{enabled, true}, {level, info}]}]}
]}].
`, r.plainPort, r.tlsPort, r.authority.CA, cert, key, r.path("definitions.json")),
	} {
		if err := os.WriteFile(r.path(name), []byte(content), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rabbit) path(name string) string { return filepath.Join(r.dir, name) }

// start runs the broker and waits until it serves.
func (r *rabbit) start() {
	r.t.Helper()
	r.command = exec.Command(rabbitServer)
	own(r.command)
	r.command.Dir = r.dir
	r.command.Env = []string{
		"PATH=/usr/bin:/bin", "HOME=" + r.dir, "RUNNING_UNDER_SYSTEMD=1", // no script around the server
		"ERL_EPMD_PORT=" + fmt.Sprint(r.epmdPort), "ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_INETRC=" + r.path("inetrc"),
		"RABBITMQ_NODENAME=iib@localhost", "RABBITMQ_DIST_PORT=" + fmt.Sprint(r.distPort),
		"RABBITMQ_CONFIG_FILE=" + r.path("rabbitmq.config"), "RABBITMQ_ENABLED_PLUGINS_FILE=" + r.path("plugins"),
		"RABBITMQ_MNESIA_BASE=" + r.path("mnesia"), "RABBITMQ_LOG_BASE=" + r.path("log"), "RABBITMQ_PID_FILE=" + r.path("pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
	}
	stdout, err := r.command.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	r.command.Stderr = r.command.Stdout
	if err := r.command.Start(); err != nil {
		r.t.Fatal(err)
	}
	ready, exited := make(chan string, 1), make(chan struct{})
	r.exited = exited
	command := r.command
	go func() {
		defer close(exited)
		var printed strings.Builder
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			fmt.Fprintln(&printed, lines.Text())
			if strings.Contains(lines.Text(), "Server startup complete") {
				ready <- ""
			}
		}
		_, _ = io.Copy(io.Discard, stdout)
		_ = command.Wait()
		select {
		case ready <- printed.String():
		default:
		}
	}()
	select {
	case printed := <-ready:
		if printed != "" {
			r.t.Fatalf("the broker has ended:\n%s", printed)
		}
	case <-time.After(patience):
		r.kill()
		r.t.Fatalf("the broker does not serve after %s", patience)
	}
}

// kill ends the broker as a power failure would.
func (r *rabbit) kill() {
	if r.command == nil {
		return
	}
	_ = syscall.Kill(-r.command.Process.Pid, syscall.SIGKILL)
	<-r.exited
	r.command = nil
}

// address is where the broker answers without TLS, secure its URL with TLS.
func (r *rabbit) address() string { return fmt.Sprintf("127.0.0.1:%d", r.plainPort) }

func (r *rabbit) secure() string { return fmt.Sprintf("amqps://localhost:%d", r.tlsPort) }

// received is a message as the independent client has it.
type received struct {
	Body            *value            `json:"body"`
	Inferred        bool              `json:"inferred"`
	Durable         bool              `json:"durable"`
	Priority        int               `json:"priority"`
	TTL             float64           `json:"ttl"`
	ContentType     *value            `json:"content_type"`
	ContentEncoding *value            `json:"content_encoding"`
	CorrelationID   *value            `json:"correlation_id"`
	ID              *value            `json:"id"`
	Subject         *string           `json:"subject"`
	ReplyTo         *string           `json:"reply_to"`
	Address         *string           `json:"address"`
	GroupID         *string           `json:"group_id"`
	CreationTime    float64           `json:"creation_time"`
	UserID          string            `json:"user_id"`
	Properties      map[string]*value `json:"properties"`
}

// value is one with the name of its type: str, int (AMQP's long), symbol.
type value struct {
	Type  string `json:"type"`
	Value any    `json:"value"`
}

// receive takes so many messages off a queue, with Qpid Proton.
func (r *rabbit) receive(queue string, count int) []received {
	r.t.Helper()
	command := exec.CommandContext(r.t.Context(), python, "testdata/receive.py", r.address(),
		brokerUser, brokerPassword, queue, fmt.Sprint(count))
	own(command)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		r.t.Fatalf("receive from %s: %v\n%s%s", queue, err, out, cmp.Or(stderr.String(), "it printed no error"))
	}
	var messages []received
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var m received
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return messages
		} else if err != nil {
			r.t.Fatal(err)
		}
		messages = append(messages, m)
	}
}
