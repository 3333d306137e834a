// Command actor is a plugin that behaves as the last part of its file's name
// says: a gate and a notifier, good or hostile, a handler that asks the
// gates, one that writes a log, and one that takes more than it may.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	name := filepath.Base(os.Args[0])
	role := name[strings.LastIndexByte(name, '-')+1:]
	switch role {
	case "exit":
		fmt.Fprintln(os.Stderr, "cannot open the database")
		os.Exit(3)
	case "garbage":
		for range 300 {
			fmt.Print(strings.Repeat("\x00garbage|", 1000))
		}
		os.Exit(0)
	case "old":
		fmt.Println("1|99|unix|" + os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/s|grpc|" + strings.Repeat("c", 100))
		forever()
	case "gated":
		handlers := make(map[string]sdk.Handler)
		for _, kind := range []string{"panic", "crash", "hang", "flood", "exit", "garbage", "old", "order", "wait", "free"} {
			handlers["gated-"+kind] = gated{}
		}
		serve.Plugin(sdk.Plugin{Name: name, Handlers: handlers})
	case "scribe":
		serve.Plugin(sdk.Plugin{Name: name, Handlers: map[string]sdk.Handler{"lines": scribe{}}})
	case "greedy":
		serve.Plugin(sdk.Plugin{Name: name, Handlers: map[string]sdk.Handler{"take": greedy{}}})
	default:
		a := actor(role)
		serve.Plugin(sdk.Plugin{Name: name, Gate: a, Notifier: a})
	}
}

// gated asks the gates and does nothing else.
type gated struct{}

func (gated) Handle(ctx context.Context, job *sdk.Job) error { return job.Gate(ctx, nil) }

// scribe writes lines into the request's log at a steady pace.
type scribe struct{}

func (scribe) Handle(ctx context.Context, job *sdk.Job) error {
	var p struct{ Lines, Milliseconds int }
	if err := job.Decode(&p); err != nil {
		return err
	}
	for i := range p.Lines {
		job.Logf(ctx, "line %d", i)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(p.Milliseconds) * time.Millisecond):
		}
	}
	return nil
}

// greedy takes what it is told to until something stops it.
type greedy struct{}

func (greedy) Handle(_ context.Context, job *sdk.Job) error {
	var p struct{ What string }
	if err := job.Decode(&p); err != nil {
		return err
	}
	var memory [][]byte
	var files []*os.File
	for {
		switch p.What {
		case "nothing":
			return nil
		case "memory":
			memory = append(memory, bytes.Repeat([]byte("x"), 1<<20))
		case "files":
			file, err := os.Open(os.DevNull)
			if err != nil {
				return fmt.Errorf("after %d files: %w", len(files), err)
			}
			files = append(files, file)
		}
	}
}

type actor string

func (a actor) Check(context.Context, *sdk.GateRequest) (sdk.Verdict, error) {
	a.act()
	if a == "deny" {
		return sdk.Deny("The tests of this bundle did not run. Run them and submit it again."), nil
	}
	return sdk.Allow, nil
}

func (a actor) Notify(context.Context, *sdk.Event) error {
	a.act()
	return nil
}

func (a actor) act() {
	switch a {
	case "wait":
		// It tells that it was asked, and goes on when it is told to.
		if err := os.WriteFile(os.Args[0]+".asked", nil, 0o600); err != nil {
			panic(err)
		}
		for {
			if _, err := os.Stat(os.Args[0] + ".go"); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	case "panic":
		panic("a call of the plugin")
	case "crash":
		go func() { panic("a goroutine of the plugin") }()
		forever()
	case "hang":
		forever()
	case "flood":
		megabyte := bytes.Repeat([]byte("x"), 1<<20)
		for range 2 {
			os.Stdout.Write(megabyte)
			os.Stderr.Write(megabyte)
			slog.Info(string(megabyte))
		}
	}
}

func forever() {
	select {}
}
