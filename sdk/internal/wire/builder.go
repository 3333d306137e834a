package wire

import (
	"context"
	"regexp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

type builderServer struct {
	pb.UnimplementedBuilderServer
	server *Server
}

func (b *builderServer) Build(ctx context.Context, req *pb.BuildRequest) (*pb.BuildResponse, error) {
	builder := b.server.plugin.Builder
	if builder == nil {
		return nil, notOffered("builder")
	}
	digest, err := builder.Build(ctx, &sdk.BuildSpec{
		ImageSpec:  decodeImageSpec(req.Spec),
		Arch:       req.Arch,
		BaseAccess: decodeAccess(req.BaseAccess),
		PushAccess: decodeAccess(req.PushAccess),
		CacheDir:   req.CacheDir,
		Workspace:  req.Workspace,
	})
	if err != nil {
		return nil, err
	}
	return &pb.BuildResponse{Digest: string(digest)}, nil
}

type builderClient struct {
	client pb.BuilderClient
	plugin string
}

// Builder returns the plugin's builder.
func (c *Conn) Builder() sdk.Builder { return &builderClient{pb.NewBuilderClient(c.link.conn), c.name} }

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func (b *builderClient) Build(ctx context.Context, spec *sdk.BuildSpec) (sdk.Digest, error) {
	resp, err := b.client.Build(ctx, &pb.BuildRequest{
		Spec:       encodeImageSpec(&spec.ImageSpec),
		Arch:       spec.Arch,
		BaseAccess: encodeAccess(&spec.BaseAccess),
		PushAccess: encodeAccess(&spec.PushAccess),
		CacheDir:   spec.CacheDir,
		Workspace:  spec.Workspace,
	})
	if err != nil {
		return "", err
	}
	if !digestForm.MatchString(resp.Digest) {
		return "", sdk.Errorf(sdk.Internal, "plugin %s: build %s: %q is no digest", b.plugin, spec.Arch, clean(resp.Digest, 100))
	}
	return sdk.Digest(resp.Digest), nil
}
