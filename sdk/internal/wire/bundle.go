package wire

import (
	"context"

	"google.golang.org/grpc"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

func encodeBundle(b *sdk.Bundle) *pb.Bundle {
	return &pb.Bundle{
		Dir:          b.Dir,
		Image:        b.Image,
		Organization: b.Organization,
		Package:      b.Package,
		Pinned:       b.Pinned,
		Labels:       b.Labels,
		Replacements: b.Replacements,
		Until:        b.Until,
	}
}

func decodeBundle(b *pb.Bundle) *sdk.Bundle {
	return &sdk.Bundle{
		Dir:          b.GetDir(),
		Image:        b.GetImage(),
		Organization: b.GetOrganization(),
		Package:      b.GetPackage(),
		Pinned:       b.GetPinned(),
		Labels:       b.GetLabels(),
		Replacements: b.GetReplacements(),
		Until:        b.GetUntil(),
	}
}

// bundleServer is the engine's end of sdk.BundleHost.
type bundleServer struct {
	pb.UnimplementedBundleEngineServer
	calls *calls
}

func (b *bundleServer) on(ctx context.Context, token string, f func(context.Context, sdk.BundleHost) error) error {
	run, err := b.calls.find(token)
	if err != nil {
		return err
	}
	if run.bundle == nil {
		return sdk.Errorf(sdk.Denied, "the call is not for this kind of run")
	}
	ctx, cancel := run.within(ctx)
	defer cancel()
	return f(ctx, run.bundle)
}

func (b *bundleServer) Log(ctx context.Context, req *pb.BundleLogRequest) (*pb.BundleLogResponse, error) {
	return &pb.BundleLogResponse{}, b.on(ctx, req.Token, func(ctx context.Context, bundle sdk.BundleHost) error {
		return bundle.Log(ctx, decodeLine(req.Line))
	})
}

func (b *bundleServer) StoreArtifact(ctx context.Context, req *pb.StoreBundleArtifactRequest) (*pb.StoreBundleArtifactResponse, error) {
	return &pb.StoreBundleArtifactResponse{}, b.on(ctx, req.Token, func(ctx context.Context, bundle sdk.BundleHost) error {
		return bundle.Artifact(ctx, req.Name, req.Path)
	})
}

func (b *bundleServer) FetchAccess(ctx context.Context, req *pb.FetchBundleAccessRequest) (*pb.FetchBundleAccessResponse, error) {
	resp := &pb.FetchBundleAccessResponse{}
	return resp, b.on(ctx, req.Token, func(ctx context.Context, bundle sdk.BundleHost) error {
		access, err := bundle.Access(ctx, req.Image)
		resp.Access = encodeAccess(&access)
		return err
	})
}

// bundleClient is the plugin's end of sdk.BundleHost.
type bundleClient struct {
	client pb.BundleEngineClient
	token  string
}

var _ sdk.BundleHost = (*bundleClient)(nil)

func newBundleClient(conn *grpc.ClientConn, token string) *bundleClient {
	return &bundleClient{pb.NewBundleEngineClient(orNobody(conn)), token}
}

func (b *bundleClient) Log(ctx context.Context, line sdk.LogLine) error {
	_, err := b.client.Log(ctx, &pb.BundleLogRequest{Token: b.token, Line: encodeLine(line)})
	return err
}

func (b *bundleClient) Artifact(ctx context.Context, name, path string) error {
	_, err := b.client.StoreArtifact(ctx, &pb.StoreBundleArtifactRequest{Token: b.token, Name: name, Path: path})
	return err
}

func (b *bundleClient) Access(ctx context.Context, image string) (sdk.Access, error) {
	resp, err := b.client.FetchAccess(ctx, &pb.FetchBundleAccessRequest{Token: b.token, Image: image})
	if err != nil {
		return sdk.Access{}, err
	}
	return decodeAccess(resp.Access), nil
}
