package wire

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
)

// Loopback serves a plugin and connects to it within this process: the real
// wire, a unix socket included, without the process. stop ends both sides.
func Loopback(s *Server, logger *slog.Logger) (conn *Conn, stop func(), err error) {
	if s.socketDir, err = os.MkdirTemp("", "iib"); err != nil {
		return nil, nil, err
	}
	quiet := hclog.NewNullLogger()
	ctx, cancel := context.WithCancel(context.Background())
	attach := make(chan *goplugin.ReattachConfig, 1)
	ended := make(chan struct{})
	end := func() {
		cancel()
		<-ended
		_ = s.closeListener(ctx)
		_ = os.RemoveAll(s.socketDir)
	}
	go goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  Handshake,
		VersionedPlugins: ServerSets(s),
		GRPCServer:       s.GRPCServer,
		Logger:           quiet,
		Test: &goplugin.ServeTestConfig{
			Context: ctx, ReattachConfigCh: attach, CloseCh: ended,
		},
	})
	var reattach *goplugin.ReattachConfig
	select {
	case reattach = <-attach:
	case <-ended:
		end()
		return nil, nil, errors.New("the plugin could not be served")
	}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  Handshake,
		Plugins:          ClientSets()[reattach.ProtocolVersion],
		Reattach:         reattach,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		GRPCDialOptions:  DialOptions(s.plugin.Name),
		Logger:           quiet,
	})
	protocol, err := client.Client()
	if err != nil {
		end()
		return nil, nil, err
	}
	conn, err = NewConn(s.plugin.Name, protocol, logger)
	if err != nil {
		end()
		return nil, nil, err
	}
	return conn, func() {
		// Not protocol.Close: it asks the server to stop, which then races with
		// the end of its context.
		_ = conn.link.broker.Close()
		_ = conn.link.conn.Close()
		end()
		conn.Release()
	}, nil
}
