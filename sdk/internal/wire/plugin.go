package wire

import (
	"context"
	"errors"
	"slices"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
	"github.com/iib-engine/iib/sdk/internal/schema"
)

// pluginServer is the service that every plugin has.
type pluginServer struct {
	pb.UnimplementedPluginServer
	server *Server

	started []any // in order; written by Start, read by Close after it
}

// Description returns what Describe answers.
func (s *Server) Description() (*pb.DescribeResponse, error) {
	p := &s.plugin
	d := &pb.DescribeResponse{
		Name: p.Name, Version: s.version, Doc: p.Doc,
		Gate: p.Gate != nil, Notifier: p.Notifier != nil,
		Builder: p.Builder != nil, Service: p.Service != nil,
		CallsEngine: true,
	}
	var err error
	if d.Schema, err = schema.Of(s.settings); err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(p.Handlers) {
		d.Handlers = append(d.Handlers, describeHandler(name, p.Handlers[name]))
	}
	for _, name := range sortedKeys(p.Customizers) {
		shape, err := schema.Of(p.Customizers[name])
		if err != nil {
			return nil, err
		}
		d.Customizers = append(d.Customizers, &pb.CustomizerDescription{Name: name, Schema: shape})
	}
	return d, nil
}

func (p *pluginServer) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return p.server.Description()
}

func (p *pluginServer) Configure(_ context.Context, req *pb.ConfigureRequest) (*pb.ConfigureResponse, error) {
	s := p.server
	if err := s.life.advance("Configure", configured, fresh); err != nil {
		return nil, err
	}
	if err := schema.Decode(req.Config, s.settings); err != nil {
		_ = s.life.advance("Configure", fresh, configured)
		return &pb.ConfigureResponse{Problems: encodeProblems(err)}, nil
	}
	return &pb.ConfigureResponse{}, nil
}

func (p *pluginServer) Validate(_ context.Context, req *pb.ValidateRequest) (*pb.ValidateResponse, error) {
	if req.Customizer != "" {
		_, err := p.server.newCustomizer(req.Customizer, req.Config)
		return &pb.ValidateResponse{Problems: encodeProblems(err)}, nil
	}
	if err := p.server.life.advance("Validate", configured, configured); err != nil {
		return nil, err
	}
	resp := &pb.ValidateResponse{}
	for _, v := range p.server.values {
		resp.Problems = append(resp.Problems, encodeProblems(validate(v))...)
	}
	return resp, nil
}

func validate(v any) error {
	if v, ok := v.(sdk.Validator); ok {
		return v.Validate()
	}
	return nil
}

func (p *pluginServer) Start(ctx context.Context, req *pb.StartRequest) (*pb.StartResponse, error) {
	s := p.server
	if err := s.life.advance("Start", starting, configured); err != nil {
		return nil, err
	}
	if err := s.life.enter("Start", starting); err != nil {
		return nil, err
	}
	defer s.life.leave()
	if req.BrokerId != 0 {
		conn, err := s.broker.DialWithOptions(req.BrokerId, dialOptions("engine")...)
		if err != nil {
			return nil, sdk.Errorf(sdk.Unavailable, "connect to the engine: %v", err)
		}
		s.engine = conn
	}
	s.host = newEngineClient(s.engine, req)
	for _, v := range s.values {
		p.started = append(p.started, v)
		if v, ok := v.(sdk.Starter); ok {
			if err := v.Start(ctx, s.host); err != nil {
				p.started = p.started[:len(p.started)-1]
				return nil, err
			}
		}
	}
	return &pb.StartResponse{}, s.life.advance("Start", running, starting)
}

func (p *pluginServer) Close(ctx context.Context, _ *pb.CloseRequest) (*pb.CloseResponse, error) {
	s := p.server
	if err := s.life.close(ctx); err != nil {
		return nil, err
	}
	var problems []error
	if err := s.closeListener(ctx); err != nil {
		problems = append(problems, err)
	}
	for _, c := range s.takeInstances() {
		problems = append(problems, closeValue(c))
	}
	for _, v := range slices.Backward(p.started) {
		problems = append(problems, closeValue(v))
	}
	if s.engine != nil {
		problems = append(problems, s.engine.Close())
	}
	return &pb.CloseResponse{}, errors.Join(problems...)
}

func closeValue(v any) error {
	if c, ok := v.(sdk.Closer); ok {
		return c.Close()
	}
	return nil
}
