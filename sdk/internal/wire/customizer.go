package wire

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
	"github.com/iib-engine/iib/sdk/internal/schema"
)

type customizerServer struct {
	pb.UnimplementedCustomizerServer
	server *Server
}

// newCustomizer makes and validates an instance for a customize block.
func (s *Server) newCustomizer(name string, config json.RawMessage) (sdk.Customizer, error) {
	prototype, ok := s.plugin.Customizers[name]
	if !ok {
		return nil, notOffered("customizer " + name)
	}
	instance := schema.Copy(prototype).(sdk.Customizer)
	if err := schema.Decode(config, instance); err != nil {
		return nil, err
	}
	return instance, validate(instance)
}

func (c *customizerServer) Open(ctx context.Context, req *pb.OpenRequest) (*pb.OpenResponse, error) {
	s := c.server
	instance, err := s.newCustomizer(req.Name, req.Config)
	if err != nil {
		return nil, err
	}
	if starter, ok := instance.(sdk.Starter); ok {
		if err := starter.Start(ctx, s.host); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.instances[s.last] = instance
	return &pb.OpenResponse{Instance: s.last}, nil
}

func (c *customizerServer) Customize(ctx context.Context, req *pb.CustomizeRequest) (*pb.CustomizeResponse, error) {
	s := c.server
	s.mu.Lock()
	instance, ok := s.instances[req.Instance]
	s.mu.Unlock()
	if !ok {
		return nil, sdk.Errorf(sdk.Conflict, "the customizer's instance %d was released", req.Instance)
	}
	bundle := decodeBundle(req.Bundle).WithHost(newBundleClient(s.engine, req.Token))
	if err := instance.Customize(ctx, bundle); err != nil {
		return nil, err
	}
	return &pb.CustomizeResponse{Package: bundle.Package, Labels: bundle.Labels}, nil
}

func (c *customizerServer) Release(_ context.Context, req *pb.ReleaseRequest) (*pb.ReleaseResponse, error) {
	s := c.server
	s.mu.Lock()
	instance, ok := s.instances[req.Instance]
	delete(s.instances, req.Instance)
	s.mu.Unlock()
	if !ok {
		return &pb.ReleaseResponse{}, nil
	}
	return &pb.ReleaseResponse{}, closeValue(instance)
}

// takeInstances removes and returns all instances, newest first.
func (s *Server) takeInstances() []sdk.Customizer {
	s.mu.Lock()
	defer s.mu.Unlock()
	numbers := make([]uint64, 0, len(s.instances))
	for n := range s.instances {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var taken []sdk.Customizer
	for _, n := range slices.Backward(numbers) {
		taken = append(taken, s.instances[n])
	}
	clear(s.instances)
	return taken
}

// CustomizerClient is an instance of a plugin's customizer.
type CustomizerClient struct {
	conn     *Conn
	client   pb.CustomizerClient
	instance uint64
}

var _ sdk.Customizer = (*CustomizerClient)(nil)

// OpenCustomizer makes an instance for a customize block.
func (c *Conn) OpenCustomizer(ctx context.Context, name string, config json.RawMessage) (*CustomizerClient, error) {
	client := pb.NewCustomizerClient(c.link.conn)
	resp, err := client.Open(ctx, &pb.OpenRequest{Name: name, Config: config})
	if err != nil {
		return nil, err
	}
	return &CustomizerClient{c, client, resp.Instance}, nil
}

// Customize runs the instance in the plugin. What the plugin asks of the
// bundle goes to bundle.Host. On an error the bundle's members are unchanged;
// its files may not be.
func (c *CustomizerClient) Customize(ctx context.Context, bundle *sdk.Bundle) error {
	token, end := c.conn.calls.begin(ctx, &call{bundle: bundle.Host()})
	defer end()
	resp, err := c.client.Customize(ctx, &pb.CustomizeRequest{
		Token: token, Instance: c.instance, Bundle: encodeBundle(bundle),
	})
	if err != nil {
		return err
	}
	bundle.Package, bundle.Labels = resp.Package, resp.Labels
	return nil
}

// Release gives the instance back. It must not be used afterwards.
func (c *CustomizerClient) Release(ctx context.Context) error {
	_, err := c.client.Release(ctx, &pb.ReleaseRequest{Instance: c.instance})
	return err
}
