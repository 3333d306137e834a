package wire

import (
	"context"
	"strings"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// MaxMessage bounds a message in either direction. Blobs travel as files, so
// the largest message is a request's parameters or fields.
const MaxMessage = 64 << 20

// Handshake is how a plugin process recognises that it was started by an
// engine. It is no security measure; mutual TLS and the private socket
// directory are.
var Handshake = goplugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "IIB_PLUGIN",
	MagicCookieValue: "serve",
}

// LogLevelVariable tells a plugin the lowest level of log lines that the
// engine keeps: debug, info, warn or error.
const LogLevelVariable = "IIB_PLUGIN_LOG_LEVEL"

// prefix distinguishes our methods from those that go-plugin adds.
const prefix = "/iib.plugin.v1."

func ours(method string) bool { return strings.HasPrefix(method, prefix) }

// setName is the one entry of every plugin set: the kinds are services of it.
const setName = "iib"

// ServerSets are the protocol versions that a plugin speaks.
func ServerSets(s *Server) map[int]goplugin.PluginSet {
	return sets(&bridge{server: s})
}

// ClientSets are the protocol versions that the engine speaks.
func ClientSets() map[int]goplugin.PluginSet { return sets(&bridge{}) }

func sets(b *bridge) map[int]goplugin.PluginSet {
	return map[int]goplugin.PluginSet{int(Handshake.ProtocolVersion): {setName: b}}
}

// GRPCServer makes the plugin's gRPC server from go-plugin's options.
func (s *Server) GRPCServer(options []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options,
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.ChainUnaryInterceptor(s.unary))...)
}

// dialOptions are for both directions; peer names the other side in errors.
func dialOptions(peer string) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any,
			cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
		) error {
			err := invoke(ctx, method, req, reply, cc, opts...)
			if err != nil && ours(method) {
				return decodeError(ctx, peer, method, err)
			}
			return err
		}),
	}
}

// DialOptions are the engine's for the connection to the plugin of that name.
func DialOptions(plugin string) []grpc.DialOption { return dialOptions("plugin " + plugin) }

// bridge registers a server with go-plugin, or picks up a client's connection.
type bridge struct {
	goplugin.NetRPCUnsupportedPlugin
	server *Server
}

func (b *bridge) GRPCServer(broker *goplugin.GRPCBroker, s *grpc.Server) error {
	b.server.register(broker, s)
	return nil
}

// link is what Dispense returns.
type link struct {
	broker *goplugin.GRPCBroker
	conn   *grpc.ClientConn
}

func (b *bridge) GRPCClient(_ context.Context, broker *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &link{broker, conn}, nil
}
