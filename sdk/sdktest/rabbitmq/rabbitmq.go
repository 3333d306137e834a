// Package rabbitmq runs a RabbitMQ of a test's own, with its AMQP 1.0 plugin, and
// reads from it with Qpid Proton: a real broker and an independent client for
// tests of what sends messages.
package rabbitmq

import (
	"bufio"
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk/child"
	"github.com/iib-engine/iib/sdk/clienttls/tlstest"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

//go:embed receive.py
var receiver string

const (
	program = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	// Python is Debian's, which Debian's Qpid Proton is for.
	Python = "/usr/bin/python3"

	// User may do everything, by Password or by a certificate of this name.
	User     = "iib"
	Password = "correct horse"

	// BuildQueue and BatchQueue are durable and there from the start.
	BuildQueue = "/amq/queue/iib.build.state"
	BatchQueue = "/amq/queue/iib.batch.state"

	// Patience is when what does not happen is a failure.
	Patience = 2 * time.Minute
)

// Broker is a RabbitMQ on loopback, with its files in a directory that vanishes.
// What is durable outlives a Kill.
type Broker struct {
	// Authority has signed the broker's certificate, and those of who may enter
	// at Secure.
	Authority *tlstest.Authority

	dir string

	plainPort, tlsPort, distPort, epmdPort int

	server *child.Process
}

// Need ends the test where RabbitMQ or Qpid Proton is not installed.
func Need(t testing.TB) {
	t.Helper()
	real.Need(t, program, "python3-proton")
}

// New starts a broker. It ends with the test, which Need must have let pass.
func New(t testing.TB) *Broker {
	r := &Broker{dir: t.TempDir(), Authority: tlstest.New(t)}
	for _, port := range []*int{&r.plainPort, &r.tlsPort, &r.distPort, &r.epmdPort} {
		*port = loopback.Port(t)
	}
	r.configure(t)
	// RabbitMQ's nodes find each other by epmd. This one is the test's own, in
	// the foreground, so that none stays behind.
	epmd := exec.Command("epmd", "-port", fmt.Sprint(r.epmdPort), "-address", "127.0.0.1")
	names, err := child.Start(epmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		names.Kill()
		_ = names.Wait()
	})
	r.Start(t)
	t.Cleanup(r.Kill)
	return r
}

func (r *Broker) configure(t testing.TB) {
	cert, key := r.Authority.Issue("broker")
	queue := func(name string) map[string]any {
		return map[string]any{"name": name, "vhost": "/", "durable": true, "auto_delete": false, "arguments": map[string]any{}}
	}
	definitions, err := json.Marshal(map[string]any{
		"vhosts": []any{map[string]any{"name": "/"}},
		"users":  []any{map[string]any{"name": User, "password": Password, "tags": ""}},
		"permissions": []any{map[string]any{
			"user": User, "vhost": "/", "configure": "^iib", "read": ".*", "write": ".*",
		}},
		"queues": []any{queue("iib.build.state"), queue("iib.batch.state")},
	})
	if err != nil {
		t.Fatal(err)
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
`, r.plainPort, r.tlsPort, r.Authority.CA, cert, key, r.path("definitions.json")),
	} {
		if err := os.WriteFile(r.path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *Broker) path(name string) string { return filepath.Join(r.dir, name) }

// Start runs the broker again after a Kill, and waits until it serves.
func (r *Broker) Start(t testing.TB) {
	t.Helper()
	command := exec.Command(program)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Dir = r.dir
	command.Env = []string{
		"PATH=/usr/bin:/bin", "HOME=" + r.dir, "RUNNING_UNDER_SYSTEMD=1", // no script around the server
		"ERL_EPMD_PORT=" + fmt.Sprint(r.epmdPort), "ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_INETRC=" + r.path("inetrc"),
		"RABBITMQ_NODENAME=iib@localhost", "RABBITMQ_DIST_PORT=" + fmt.Sprint(r.distPort),
		"RABBITMQ_CONFIG_FILE=" + r.path("rabbitmq.config"), "RABBITMQ_ENABLED_PLUGINS_FILE=" + r.path("plugins"),
		"RABBITMQ_MNESIA_BASE=" + r.path("mnesia"), "RABBITMQ_LOG_BASE=" + r.path("log"), "RABBITMQ_PID_FILE=" + r.path("pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
	}
	output, its, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer its.Close() // the child keeps its own
	command.Stdout, command.Stderr = its, its
	if r.server, err = child.Start(command); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		defer output.Close()
		var printed strings.Builder
		lines := bufio.NewScanner(output)
		for lines.Scan() {
			fmt.Fprintln(&printed, lines.Text())
			if strings.Contains(lines.Text(), "Server startup complete") {
				ready <- ""
			}
		}
		_, _ = io.Copy(io.Discard, output)
		select {
		case ready <- printed.String():
		default:
		}
	}()
	select {
	case printed := <-ready:
		if printed != "" {
			t.Fatalf("the broker has ended:\n%s", printed)
		}
	case <-time.After(Patience):
		r.Kill()
		t.Fatalf("the broker does not serve after %s", Patience)
	}
}

// Kill ends the broker as a power failure would.
func (r *Broker) Kill() {
	if r.server == nil {
		return
	}
	r.server.Kill()
	_ = r.server.Wait()
	r.server = nil
}

// Address is where the broker answers without TLS.
func (r *Broker) Address() string { return fmt.Sprintf("127.0.0.1:%d", r.plainPort) }

// Secure is its URL with TLS; it demands a certificate.
func (r *Broker) Secure() string { return fmt.Sprintf("amqps://localhost:%d", r.tlsPort) }

// Message is a message as the independent client has it.
type Message struct {
	Body            *Value            `json:"body"`
	Inferred        bool              `json:"inferred"`
	Durable         bool              `json:"durable"`
	Priority        int               `json:"priority"`
	TTL             float64           `json:"ttl"`
	ContentType     *Value            `json:"content_type"`
	ContentEncoding *Value            `json:"content_encoding"`
	CorrelationID   *Value            `json:"correlation_id"`
	ID              *Value            `json:"id"`
	Subject         *string           `json:"subject"`
	ReplyTo         *string           `json:"reply_to"`
	Address         *string           `json:"address"`
	GroupID         *string           `json:"group_id"`
	CreationTime    float64           `json:"creation_time"`
	UserID          string            `json:"user_id"`
	Properties      map[string]*Value `json:"properties"`
}

// Value is one with the name of its type: str, int (AMQP's long), symbol.
type Value struct {
	Type  string `json:"type"`
	Value any    `json:"value"`
}

// Receive takes so many messages off a queue, with Qpid Proton.
func (r *Broker) Receive(t testing.TB, queue string, count int) []Message {
	t.Helper()
	command := exec.CommandContext(t.Context(), Python, "-c", receiver, r.Address(),
		User, Password, queue, fmt.Sprint(count))
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	reader, err := child.Start(command)
	if err == nil {
		err = reader.Wait()
	}
	if err != nil {
		t.Fatalf("receive from %s: %v: %s", queue, err, cmp.Or(strings.TrimSpace(stderr.String()), "it printed no error"))
	}
	var messages []Message
	decoder := json.NewDecoder(&stdout)
	for {
		var m Message
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return messages
		} else if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
}
