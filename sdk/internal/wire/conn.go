package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

// Conn is the engine's end of the wire: a connection to one plugin.
type Conn struct {
	name   string
	logger *slog.Logger
	link   *link
	plugin pb.PluginClient
	calls  *calls

	mu   sync.Mutex
	stop func() // the engine's services; nil until Start
}

// NewConn returns the engine's end of a plugin's connection. name is for
// messages. Panics of the engine's own services are logged to logger, which may
// be nil.
func NewConn(name string, client goplugin.ClientProtocol, logger *slog.Logger) (*Conn, error) {
	dispensed, err := client.Dispense(setName)
	if err != nil {
		return nil, err
	}
	l, ok := dispensed.(*link)
	if !ok {
		return nil, fmt.Errorf("the connection is a %T", dispensed)
	}
	return &Conn{
		name:   name,
		link:   l,
		plugin: pb.NewPluginClient(l.conn),
		calls:  &calls{m: make(map[string]*call)},
		logger: discardIfNil(logger),
	}, nil
}

func discardIfNil(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// maxDescription bounds what a plugin says of itself.
const maxDescription = 4 << 20

// Describe asks what the plugin offers. What comes back becomes routes, names
// in the configuration and published documentation, so it is checked.
func (c *Conn) Describe(ctx context.Context) (*pb.DescribeResponse, error) {
	d, err := c.plugin.Describe(ctx, &pb.DescribeRequest{}, grpc.MaxCallRecvMsgSize(maxDescription))
	if err != nil {
		return nil, err
	}
	return d, checkDescription(d)
}

func checkDescription(d *pb.DescribeResponse) error {
	if !nameForm.MatchString(d.Name) || len(d.Name) > maxName {
		return sdk.Errorf(sdk.Invalid, "its name %q has other characters than lower-case letters, digits and hyphens", clean(d.Name, maxName))
	}
	types := make(map[string]bool)
	for _, h := range d.Handlers {
		if err := checkName("request type", h.GetType(), types); err != nil {
			return err
		}
		if err := checkDocumentation(h); err != nil {
			return err
		}
	}
	customizers := make(map[string]bool)
	for _, c := range d.Customizers {
		if err := checkName("customizer", c.GetName(), customizers); err != nil {
			return err
		}
	}
	return nil
}

// maxName bounds a name that a plugin gives.
const maxName = 100

func checkName(what, name string, seen map[string]bool) error {
	if !typeForm.MatchString(name) || len(name) > maxName {
		return sdk.Errorf(sdk.Invalid, "its %s %q has other characters than lower-case letters, digits, hyphens and underscores", what, clean(name, maxName))
	}
	if seen[name] {
		return sdk.Errorf(sdk.Invalid, "it has the %s %s twice", what, name)
	}
	seen[name] = true
	return nil
}

func checkDocumentation(h *pb.HandlerDescription) error {
	for _, p := range h.Params {
		for _, value := range [][]byte{p.Schema, p.Example} {
			if len(value) > 0 && !json.Valid(value) {
				return sdk.Errorf(sdk.Invalid, "request type %s: the schema or the example of parameter %s is not JSON", h.Type, clean(p.Name, maxName))
			}
		}
	}
	for _, f := range h.Fields {
		if len(f.Schema) > 0 && !json.Valid(f.Schema) {
			return sdk.Errorf(sdk.Invalid, "request type %s: the schema of field %s is not JSON", h.Type, clean(f.Name, maxName))
		}
	}
	return nil
}

// Configure sends the settings. The error joins all that is wrong with them.
func (c *Conn) Configure(ctx context.Context, config json.RawMessage) error {
	resp, err := c.plugin.Configure(ctx, &pb.ConfigureRequest{Config: config})
	if err != nil {
		return err
	}
	return decodeProblems(resp.Problems)
}

// Validate checks the settings that Configure sent. The error joins all that
// is wrong with them.
func (c *Conn) Validate(ctx context.Context) error {
	return c.validate(ctx, &pb.ValidateRequest{})
}

// ValidateCustomizer checks the settings of a customize block.
func (c *Conn) ValidateCustomizer(ctx context.Context, name string, config json.RawMessage) error {
	return c.validate(ctx, &pb.ValidateRequest{Customizer: name, Config: config})
}

func (c *Conn) validate(ctx context.Context, req *pb.ValidateRequest) error {
	resp, err := c.plugin.Validate(ctx, req)
	if err != nil {
		return err
	}
	return decodeProblems(resp.Problems)
}

// Start offers the engine's services to a plugin that calls them, and starts
// it. host may be nil: what would need it is refused as unavailable.
func (c *Conn) Start(ctx context.Context, host sdk.Host, callsEngine bool) error {
	req := &pb.StartRequest{}
	if host != nil {
		req.DataDir, req.CacheDir = host.Dirs()
		req.Address = host.Address()
	}
	if callsEngine {
		c.mu.Lock()
		req.BrokerId, c.stop = c.serveEngine(host)
		c.mu.Unlock()
	}
	_, err := c.plugin.Start(ctx, req)
	return err
}

// Close waits for running calls and closes the plugin's values.
func (c *Conn) Close(ctx context.Context) error {
	_, err := c.plugin.Close(ctx, &pb.CloseRequest{})
	return err
}

// Release gives back what Start took on this side. The plugin must be gone.
func (c *Conn) Release() {
	c.mu.Lock()
	stop := c.stop
	c.stop = nil
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// GRPC returns the connection itself, for the health service.
func (c *Conn) GRPC() *grpc.ClientConn { return c.link.conn }
