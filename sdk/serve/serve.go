// Package serve is the plugin author's door: Plugin turns a value of package
// sdk into a program that the engine can start.
package serve

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/wire"
)

// Plugin serves p until the engine ends the process; it is all that main does.
// Started by hand, the program prints what it is and how it is used instead.
//
// slog's default logger, and with it package log, write to the engine's log.
// Standard output and error go there as well.
func Plugin(p sdk.Plugin) {
	os.Exit(run(p, os.Args[1:], os.Stdout, os.Stderr))
}

func run(p sdk.Plugin, args []string, stdout, stderr io.Writer) int {
	server, err := wire.NewServer(p, version())
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if os.Getenv(wire.Handshake.MagicCookieKey) != wire.Handshake.MagicCookieValue {
		return byHand(server, args, stdout, stderr)
	}
	level := logLevel(os.Getenv(wire.LogLevelVariable))
	slog.SetDefault(slog.New(newHandler(stderr, level)))
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  wire.Handshake,
		VersionedPlugins: wire.ServerSets(server),
		GRPCServer:       server.GRPCServer,
		Logger: hclog.New(&hclog.LoggerOptions{
			Name: "go-plugin", Level: hclog.Warn, Output: stderr, JSONFormat: true,
		}),
	})
	return 0
}

// version returns the program's version as the Go toolchain recorded it: that
// of its module, or else the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+dirty"
		}
	}
	if revision == "" {
		return "devel"
	}
	return revision + modified
}
