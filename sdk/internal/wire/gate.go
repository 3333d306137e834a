package wire

import (
	"context"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

type gateServer struct {
	pb.UnimplementedGateServer
	server *Server
}

func (g *gateServer) Check(ctx context.Context, req *pb.CheckRequest) (*pb.CheckResponse, error) {
	gate := g.server.plugin.Gate
	if gate == nil {
		return nil, notOffered("gate")
	}
	v, err := gate.Check(ctx, &sdk.GateRequest{
		Request: decodeRequest(req.Request),
		Images:  decodeImages(req.Images),
	})
	if err != nil {
		return nil, err
	}
	return &pb.CheckResponse{Allowed: v.Allowed, Reason: clean(v.Reason, MaxMessage/2)}, nil
}

func notOffered(kind string) error {
	return sdk.Errorf(sdk.NotFound, "the plugin offers no %s", kind)
}

type gateClient struct{ client pb.GateClient }

// Gate returns the plugin's gate.
func (c *Conn) Gate() sdk.Gate { return &gateClient{pb.NewGateClient(c.link.conn)} }

func (g *gateClient) Check(ctx context.Context, req *sdk.GateRequest) (sdk.Verdict, error) {
	resp, err := g.client.Check(ctx, &pb.CheckRequest{
		Request: encodeRequest(&req.Request),
		Images:  encodeImages(req.Images),
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	return sdk.Verdict{Allowed: resp.Allowed, Reason: resp.Reason}, nil
}
