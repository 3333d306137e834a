package host

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
)

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

type testGate struct{ *settings }

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
