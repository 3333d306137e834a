package wire

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

// jobServer is the engine's end of sdk.JobHost: it finds the run that a call
// belongs to.
type jobServer struct {
	pb.UnimplementedJobEngineServer
	calls *calls
}

// on calls f with the job of a token and a context that ends with its run.
func (j *jobServer) on(ctx context.Context, token string, f func(context.Context, sdk.JobHost) error) error {
	run, err := j.calls.find(token)
	if err != nil {
		return err
	}
	if run.job == nil {
		return sdk.Errorf(sdk.Denied, "the call is not for this kind of run")
	}
	ctx, cancel := run.within(ctx)
	defer cancel()
	return f(ctx, run.job)
}

func (j *jobServer) SetState(ctx context.Context, req *pb.SetStateRequest) (*pb.SetStateResponse, error) {
	return &pb.SetStateResponse{}, j.on(ctx, req.Token, func(ctx context.Context, job sdk.JobHost) error {
		return job.State(ctx, req.Reason)
	})
}

func (j *jobServer) Log(ctx context.Context, req *pb.LogRequest) (*pb.LogResponse, error) {
	return &pb.LogResponse{}, j.on(ctx, req.Token, func(ctx context.Context, job sdk.JobHost) error {
		return job.Log(ctx, decodeLine(req.Line))
	})
}

func (j *jobServer) ReportProgress(ctx context.Context, req *pb.ReportProgressRequest) (*pb.ReportProgressResponse, error) {
	return &pb.ReportProgressResponse{}, j.on(ctx, req.Token, func(ctx context.Context, job sdk.JobHost) error {
		return job.Progress(ctx, sdk.Progress{Phase: req.Phase, Done: req.Done, Total: req.Total})
	})
}

func (j *jobServer) SetFields(ctx context.Context, req *pb.SetFieldsRequest) (*pb.SetFieldsResponse, error) {
	return &pb.SetFieldsResponse{}, j.on(ctx, req.Token, func(ctx context.Context, job sdk.JobHost) error {
		if err := checkFields(req.Fields); err != nil {
			return err
		}
		return job.Fields(ctx, decodeFields(req.Fields))
	})
}

func (j *jobServer) StoreArtifact(ctx context.Context, req *pb.StoreArtifactRequest) (*pb.StoreArtifactResponse, error) {
	return &pb.StoreArtifactResponse{}, j.on(ctx, req.Token, func(ctx context.Context, job sdk.JobHost) error {
		return job.Artifact(ctx, req.Name, req.Path)
	})
}

func (j *jobServer) AskGates(ctx context.Context, req *pb.AskGatesRequest) (*pb.AskGatesResponse, error) {
	return &pb.AskGatesResponse{}, j.on(ctx, req.Token, func(ctx context.Context, job sdk.JobHost) error {
		return job.Gate(ctx, decodeImages(req.Images))
	})
}

func (j *jobServer) CustomizeBundle(ctx context.Context, req *pb.CustomizeBundleRequest) (*pb.CustomizeBundleResponse, error) {
	bundle := decodeBundle(req.Bundle)
	err := j.on(ctx, req.Token, func(ctx context.Context, job sdk.JobHost) error {
		return job.Customize(ctx, req.Organization, bundle)
	})
	return &pb.CustomizeBundleResponse{Bundle: encodeBundle(bundle)}, err
}

func (j *jobServer) BuildImage(ctx context.Context, req *pb.BuildImageRequest) (*pb.BuildImageResponse, error) {
	var built *sdk.BuiltImage
	err := j.on(ctx, req.Token, func(ctx context.Context, job sdk.JobHost) (err error) {
		spec := decodeImageSpec(req.Spec)
		built, err = job.Build(ctx, &spec)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &pb.BuildImageResponse{
		Image: built.Image, Digest: built.Digest, Arches: built.Arches, Pushed: built.Pushed,
	}, nil
}

func (j *jobServer) Publish(ctx context.Context, req *pb.PublishRequest) (*pb.PublishResponse, error) {
	var published *sdk.Published
	err := j.on(ctx, req.Token, func(ctx context.Context, job sdk.JobHost) (err error) {
		published, err = job.Publish(ctx, &sdk.Publication{
			Image: req.Image, BuildTags: req.BuildTags, Overwrite: req.Overwrite, Base: req.Base,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &pb.PublishResponse{
		IndexImage:           published.IndexImage,
		IndexImageResolved:   published.IndexImageResolved,
		InternalCopy:         published.InternalCopy,
		InternalCopyResolved: published.InternalCopyResolved,
	}, nil
}

func (j *jobServer) Lock(stream grpc.BidiStreamingServer[pb.LockRequest, pb.LockResponse]) error {
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	return j.on(stream.Context(), req.Token, func(ctx context.Context, job sdk.JobHost) error {
		unlock, err := job.Lock(ctx, req.Name)
		if err != nil {
			return err
		}
		defer unlock()
		if err := stream.Send(&pb.LockResponse{}); err != nil {
			return err
		}
		released := make(chan struct{})
		go func() {
			defer close(released)
			_, _ = stream.Recv() // the plugin closes its side, or is gone
		}()
		select {
		case <-released:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

func (j *jobServer) FetchSecret(ctx context.Context, req *pb.FetchSecretRequest) (*pb.FetchSecretResponse, error) {
	resp := &pb.FetchSecretResponse{}
	return resp, j.on(ctx, req.Token, func(ctx context.Context, job sdk.JobHost) error {
		secret, err := job.Secret(ctx, req.Name)
		resp.Secret = secret.Reveal()
		return err
	})
}

func (j *jobServer) FetchAccess(ctx context.Context, req *pb.FetchJobAccessRequest) (*pb.FetchJobAccessResponse, error) {
	resp := &pb.FetchJobAccessResponse{}
	return resp, j.on(ctx, req.Token, func(ctx context.Context, job sdk.JobHost) error {
		access, err := job.Access(ctx, req.Image)
		resp.Access = encodeAccess(&access)
		return err
	})
}

// jobClient is the plugin's end of sdk.JobHost.
type jobClient struct {
	client pb.JobEngineClient
	token  string
}

var _ sdk.JobHost = (*jobClient)(nil)

func newJobClient(conn *grpc.ClientConn, token string) *jobClient {
	return &jobClient{pb.NewJobEngineClient(orNobody(conn)), token}
}

func (j *jobClient) State(ctx context.Context, reason string) error {
	_, err := j.client.SetState(ctx, &pb.SetStateRequest{Token: j.token, Reason: clean(reason, MaxMessage/2)})
	return err
}

func (j *jobClient) Log(ctx context.Context, line sdk.LogLine) error {
	_, err := j.client.Log(ctx, &pb.LogRequest{Token: j.token, Line: encodeLine(line)})
	return err
}

func (j *jobClient) Progress(ctx context.Context, p sdk.Progress) error {
	_, err := j.client.ReportProgress(ctx, &pb.ReportProgressRequest{
		Token: j.token, Phase: clean(p.Phase, 1<<10), Done: p.Done, Total: p.Total,
	})
	return err
}

func (j *jobClient) Fields(ctx context.Context, fields map[string]json.RawMessage) error {
	_, err := j.client.SetFields(ctx, &pb.SetFieldsRequest{Token: j.token, Fields: encodeFields(fields)})
	return err
}

func (j *jobClient) Artifact(ctx context.Context, name, path string) error {
	_, err := j.client.StoreArtifact(ctx, &pb.StoreArtifactRequest{Token: j.token, Name: name, Path: path})
	return err
}

func (j *jobClient) Gate(ctx context.Context, images []sdk.Image) error {
	_, err := j.client.AskGates(ctx, &pb.AskGatesRequest{Token: j.token, Images: encodeImages(images)})
	return err
}

func (j *jobClient) Customize(ctx context.Context, organization string, bundle *sdk.Bundle) error {
	resp, err := j.client.CustomizeBundle(ctx, &pb.CustomizeBundleRequest{
		Token: j.token, Organization: organization, Bundle: encodeBundle(bundle),
	})
	if err != nil {
		return err
	}
	bundle.Package, bundle.Labels = resp.GetBundle().GetPackage(), resp.GetBundle().GetLabels()
	return nil
}

func (j *jobClient) Build(ctx context.Context, spec *sdk.ImageSpec) (*sdk.BuiltImage, error) {
	resp, err := j.client.BuildImage(ctx, &pb.BuildImageRequest{Token: j.token, Spec: encodeImageSpec(spec)})
	if err != nil {
		return nil, err
	}
	return &sdk.BuiltImage{Image: resp.Image, Digest: resp.Digest, Arches: resp.Arches, Pushed: resp.Pushed}, nil
}

func (j *jobClient) Publish(ctx context.Context, p *sdk.Publication) (*sdk.Published, error) {
	resp, err := j.client.Publish(ctx, &pb.PublishRequest{
		Token: j.token, Image: p.Image, BuildTags: p.BuildTags, Overwrite: p.Overwrite, Base: p.Base,
	})
	if err != nil {
		return nil, err
	}
	return &sdk.Published{
		IndexImage:           resp.IndexImage,
		IndexImageResolved:   resp.IndexImageResolved,
		InternalCopy:         resp.InternalCopy,
		InternalCopyResolved: resp.InternalCopyResolved,
	}, nil
}

// Lock holds a stream for as long as the lock: whatever ends the stream gives
// the lock back. ctx bounds the wait and not the holding.
func (j *jobClient) Lock(ctx context.Context, name string) (unlock func(), err error) {
	held, release := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, release)
	stream, err := j.client.Lock(held)
	if err == nil {
		if err = stream.Send(&pb.LockRequest{Token: j.token, Name: name}); err == nil || errors.Is(err, io.EOF) {
			_, err = stream.Recv() // after an EOF of Send, this has the reason
		}
	}
	if !stop() || err != nil {
		release()
		return nil, decodeError(ctx, "engine", "Lock", err)
	}
	return sync.OnceFunc(func() {
		defer release()
		_ = stream.CloseSend()
		_, _ = stream.Recv() // the engine has unlocked when it ends the stream
	}), nil
}

func (j *jobClient) Secret(ctx context.Context, name string) (sdk.Secret, error) {
	resp, err := j.client.FetchSecret(ctx, &pb.FetchSecretRequest{Token: j.token, Name: name})
	if err != nil {
		return "", err
	}
	return sdk.Secret(resp.Secret), nil
}

func (j *jobClient) Access(ctx context.Context, image string) (sdk.Access, error) {
	resp, err := j.client.FetchAccess(ctx, &pb.FetchJobAccessRequest{Token: j.token, Image: image})
	if err != nil {
		return sdk.Access{}, err
	}
	return decodeAccess(resp.Access), nil
}
