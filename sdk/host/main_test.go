package host

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
	"github.com/iib-engine/iib/sdk/serve"
)

// The test's own program is the plugin of its tests: started with the
// handshake's environment it serves, well or badly, as the variable
// TEST_PLUGIN says. Started with TEST_ENGINE it is an engine that launches one.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("IIB_PLUGIN") != "":
		playPlugin(os.Getenv("TEST_PLUGIN"))
	case os.Getenv("TEST_ENGINE") != "":
		playEngine()
	default:
		os.Exit(m.Run())
	}
}

func playPlugin(role string) {
	socket := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	switch role {
	case "":
		serve.Plugin(testPlugin())
	case "exit":
		fmt.Fprintln(os.Stderr, "cannot open the database")
		os.Exit(3)
	case "hang":
		fmt.Println("one moment please")
		forever()
	case "garbage":
		for range 3000 {
			fmt.Print(strings.Repeat("\x00garbage|", 1000))
		}
		os.Exit(0)
	case "noise":
		fmt.Println("welcome to my plugin")
		fmt.Println(strings.Repeat("=", 100_000))
		serve.Plugin(testPlugin())
	case "old":
		fmt.Println("1|99|unix|" + socket + "|grpc|" + strings.Repeat("c", 100))
		forever()
	case "go-plugin 9":
		fmt.Println("9|1|unix|" + socket + "|grpc|" + strings.Repeat("c", 100))
		forever()
	case "netrpc":
		fmt.Println("1|1|unix|" + socket + "|netrpc|" + strings.Repeat("c", 100))
		forever()
	case "tcp":
		fmt.Println("1|1|tcp|127.0.0.1:1|grpc|" + strings.Repeat("c", 100))
		forever()
	case "elsewhere":
		fmt.Println("1|1|unix|/run/docker.sock|grpc|" + strings.Repeat("c", 100))
		forever()
	case "above":
		fmt.Println("1|1|unix|" + filepath.Dir(socket) + "/../s|grpc|" + strings.Repeat("c", 100))
		forever()
	case "no socket":
		fmt.Println("1|1|unix|" + socket + "|grpc|" + strings.Repeat("c", 100))
		forever()
	case "a file":
		_ = os.WriteFile(socket, nil, 0o600)
		fmt.Println("1|1|unix|" + socket + "|grpc|" + strings.Repeat("c", 100))
		forever()
	case "mute":
		listen(socket)
		fmt.Println("1|1|unix|" + socket + "|grpc|" + strings.Repeat("c", 100))
		forever()
	case "no TLS":
		os.Unsetenv("PLUGIN_CLIENT_CERT")
		serve.Plugin(testPlugin())
	case "foreign":
		serveForeign(listen(socket), socket)
	default:
		fmt.Fprintln(os.Stderr, "no such role:", role)
		os.Exit(1)
	}
}

func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

func listen(socket string) net.Listener {
	l, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	return l
}

// serveForeign is a gate as another language would have it: the published
// protocol and the health service, and nothing of go-plugin's own.
func serveForeign(l net.Listener, socket string) {
	g := grpc.NewServer()
	pb.RegisterPluginServer(g, foreign{})
	pb.RegisterGateServer(g, foreignGate{})
	h := health.NewServer()
	h.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(g, h)
	fmt.Println("1|1|unix|" + socket + "|grpc")
	fmt.Println("printed by a plugin of another language")
	_ = g.Serve(l)
}

type foreign struct{ pb.UnimplementedPluginServer }

func (foreign) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return &pb.DescribeResponse{Name: "foreign", Gate: true, Service: true}, nil
}
func (foreign) Configure(context.Context, *pb.ConfigureRequest) (*pb.ConfigureResponse, error) {
	return &pb.ConfigureResponse{}, nil
}
func (foreign) Start(context.Context, *pb.StartRequest) (*pb.StartResponse, error) {
	return &pb.StartResponse{}, nil
}

type foreignGate struct{ pb.UnimplementedGateServer }

func (foreignGate) Check(context.Context, *pb.CheckRequest) (*pb.CheckResponse, error) {
	return &pb.CheckResponse{Allowed: true, Reason: "from afar"}, nil
}

// settings are those of the test's plugin.
type settings struct {
	URL   string     `hcl:"url" doc:"Where it is."`
	Token sdk.Secret `hcl:"token,optional"`
	Query []struct {
		Name string `hcl:"name,label"`
		Most int    `hcl:"most,optional" doc:"How many."`
	} `hcl:"query,block"`
	host sdk.Host
}

func (s *settings) Start(_ context.Context, h sdk.Host) error { s.host = h; return nil }

func (s *settings) Close() error { slog.Info("closed"); return nil }

func testPlugin() sdk.Plugin {
	s := &settings{}
	return sdk.Plugin{
		Name: "test-plugin", Doc: "Does what a test tells it to.", Config: s,
		Handlers:    map[string]sdk.Handler{"echo": echo{}},
		Gate:        &testGate{s},
		Notifier:    notify{},
		Builder:     build{},
		Customizers: map[string]sdk.Customizer{"rename": &rename{}},
		Service: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s for %s", r.URL.Path, sdk.UserFrom(r))
		}),
	}
}

type echo struct{}

func (echo) Handle(ctx context.Context, job *sdk.Job) error {
	job.Done("done")
	return job.Statef(ctx, "echo %s", job.Params)
}

type notify struct{}

func (notify) Notify(_ context.Context, e *sdk.Event) error {
	return sdk.Errorf(sdk.Unavailable, "no listener for %s", e.ID)
}

type build struct{}

func (build) Build(_ context.Context, s *sdk.BuildSpec) (sdk.Digest, error) {
	return sdk.Digest("sha256:" + strings.Repeat("a", 64)), nil
}

type rename struct {
	Suffix string `hcl:"suffix"`
}

func (r *rename) Customize(_ context.Context, b *sdk.Bundle) error {
	b.Package += r.Suffix
	return nil
}

// testGate does what the request's type says and answers in its reason.
type testGate struct{ *settings }

// facts are what a plugin knows of its process.
type facts struct {
	PID   int
	Env   []string
	Args  []string
	Dir   string
	Exe   string
	Stdin int64
}

func (g *testGate) Check(ctx context.Context, r *sdk.GateRequest) (sdk.Verdict, error) {
	switch r.Type {
	case "facts":
		dir, _ := os.Getwd()
		exe, _ := os.Executable()
		n, _ := io.Copy(io.Discard, os.Stdin)
		data, err := json.Marshal(facts{os.Getpid(), os.Environ(), os.Args, dir, exe, n})
		return sdk.Verdict{Allowed: true, Reason: string(data)}, err
	case "hang":
		slog.Info("hanging") // tells the test that the call has arrived
		forever()
	case "crash":
		go func() { panic("a goroutine of the plugin") }()
		forever()
	case "print":
		fmt.Println("to standard output")
		fmt.Fprintln(os.Stderr, "to standard error")
		slog.Debug("at debug")
		slog.Warn("at warn", "n", 7, "level", "fake", "secret", g.Token)
	case "flood":
		line := strings.Repeat("x", 1000)
		for range 10_000 {
			fmt.Println(line)
			slog.Info(line)
		}
	case "child":
		// It keeps the plugin's standard error open.
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "TEST_PLUGIN=hang")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return sdk.Verdict{}, err
		}
		cmd.Stderr = os.NewFile(2, "stderr")
		if err := cmd.Start(); err != nil {
			return sdk.Verdict{}, err
		}
		_, err = bufio.NewReader(stdout).ReadString('\n') // it runs
		return sdk.Verdict{Reason: fmt.Sprint(cmd.Process.Pid)}, err
	case "eat":
		slog.Info("eating")
		for food := [][]byte(nil); ; {
			meal := make([]byte, 1<<20)
			for i := range meal {
				meal[i] = byte(i)
			}
			food = append(food, meal)
			time.Sleep(time.Millisecond)
		}
	case "spin":
		for {
			runtime.Gosched()
		}
	case "open":
		var files []*os.File
		for {
			f, err := os.Open("/dev/null")
			if err != nil {
				for _, f := range files {
					f.Close()
				}
				return sdk.Verdict{Reason: fmt.Sprint(len(files))}, nil
			}
			files = append(files, f)
		}
	case "submit":
		view, err := g.host.Submit(ctx, "me", "add", json.RawMessage(`{}`))
		if err != nil {
			return sdk.Verdict{}, err
		}
		return sdk.Verdict{Reason: fmt.Sprint(view.ID)}, nil
	}
	return sdk.Verdict{Reason: fmt.Sprintf("%s %s %v", g.URL, g.Token.Reveal(), g.Query)}, nil
}

// playEngine launches a plugin, tells its number and waits to be killed.
func playEngine() {
	// The thread that launches ends before the plugin should: the kernel must
	// not take that for the end of the engine.
	done := make(chan *Plugin)
	go func() {
		runtime.LockOSThread()
		p, err := Launch(context.Background(), Command{Path: os.Args[0], SocketDir: os.Getenv("TEST_ENGINE")})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		done <- p // the goroutine ends, and its locked thread with it
	}()
	p := <-done
	for range 50 {
		runtime.Gosched()
		if err := p.Ping(context.Background()); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fmt.Println(p.PID())
	forever()
}

// command returns one that starts this program in a role.
func command(t testing.TB, role string) Command {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Command{
		Name: "tested", Path: exe, SocketDir: socketDir(t),
		Env: map[string]string{"TEST_PLUGIN": role}, StartTimeout: time.Minute,
	}
}

// socketDir returns a directory with a short name, which must be empty at the
// end of the test.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "iib")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("something is left in the socket directory: %v", err)
			_ = os.RemoveAll(dir)
		}
	})
	return dir
}

// launched returns a plugin that is started.
func launched(t testing.TB, c Command) *Plugin {
	t.Helper()
	p, err := Launch(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := p.Configure(t.Context(), []byte(`{"url": "u", "token": "t0ken"}`)); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// ask has the test's gate do something.
func ask(ctx context.Context, p *Plugin, what string) (string, error) {
	gate, err := p.Gate()
	if err != nil {
		return "", err
	}
	v, err := gate.Check(ctx, &sdk.GateRequest{Request: sdk.Request{Type: what}})
	return v.Reason, err
}

// logged is a log that tests can wait on.
type logged struct {
	mu   sync.Mutex
	cond *sync.Cond
	buf  bytes.Buffer
}

func newLog() (*slog.Logger, *logged) {
	l := &logged{}
	l.cond = sync.NewCond(&l.mu)
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})), l
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cond.Broadcast()
	return l.buf.Write(p)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// wait returns the first record with a message.
func (l *logged) wait(message string) map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for line := range bytes.Lines(l.buf.Bytes()) {
			var record map[string]any
			if json.Unmarshal(line, &record) == nil && record["msg"] == message {
				return record
			}
		}
		l.cond.Wait()
	}
}

// state returns the letter that the kernel has for a process; "" for none.
func state(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return string(rest[:1])
}

// gone waits for the end of a process that need not be a child. A zombie has
// ended; its new parent has not noticed yet.
func gone(t testing.TB, pid int) {
	t.Helper()
	give := time.Now().Add(time.Minute)
	for s := state(pid); s != "" && s != "Z"; s = state(pid) {
		if time.Now().After(give) {
			t.Fatalf("process %d is still there, in state %s", pid, s)
		}
		runtime.Gosched()
	}
}
