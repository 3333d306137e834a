package wire

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

// serveEngine offers the engine's services to the plugin over the broker.
func (c *Conn) serveEngine(host sdk.Host) (brokerID uint32, stop func()) {
	id := c.link.broker.NextId()
	servers := make(chan *grpc.Server, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.link.broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
			g := grpc.NewServer(append(options,
				grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
				grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (reply any, err error) {
					err = guard(c.logger, "engine", info.FullMethod, func() error {
						var err error
						reply, err = next(ctx, req)
						return err
					})
					return reply, err
				}),
				grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
					return guard(c.logger, "engine", info.FullMethod, func() error { return next(srv, stream) })
				}))...)
			pb.RegisterEngineServer(g, &engineServer{host: host})
			pb.RegisterJobEngineServer(g, &jobServer{calls: c.calls})
			pb.RegisterBundleEngineServer(g, &bundleServer{calls: c.calls})
			servers <- g
			return g
		})
	}()
	return id, func() {
		select {
		case g := <-servers:
			g.Stop()
		case <-ended: // the plugin died before it was served
		}
	}
}

// engineServer is the engine's end of sdk.Host. What a plugin sends is bounded
// by MaxMessage and otherwise unchecked: host must not trust it.
type engineServer struct {
	pb.UnimplementedEngineServer
	host sdk.Host
}

func (e *engineServer) engine() (sdk.Host, error) {
	if e.host == nil {
		return nil, sdk.Errorf(sdk.Unavailable, "the engine takes no calls outside of runs")
	}
	return e.host, nil
}

func (e *engineServer) Submit(ctx context.Context, req *pb.SubmitRequest) (*pb.SubmitResponse, error) {
	host, err := e.engine()
	if err != nil {
		return nil, err
	}
	view, err := host.Submit(ctx, req.User, req.Type, raw(req.Body))
	if err != nil {
		return nil, err
	}
	return &pb.SubmitResponse{View: encodeView(view)}, nil
}

func (e *engineServer) FetchRequest(ctx context.Context, req *pb.FetchRequestRequest) (*pb.FetchRequestResponse, error) {
	host, err := e.engine()
	if err != nil {
		return nil, err
	}
	view, err := host.Request(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	return &pb.FetchRequestResponse{View: encodeView(view)}, nil
}

func (e *engineServer) ListRequests(ctx context.Context, req *pb.ListRequestsRequest) (*pb.ListRequestsResponse, error) {
	host, err := e.engine()
	if err != nil {
		return nil, err
	}
	views, err := host.Requests(ctx, req.Type, req.Before, int(req.Limit))
	if err != nil {
		return nil, err
	}
	resp := &pb.ListRequestsResponse{}
	for _, v := range views {
		resp.Views = append(resp.Views, encodeView(v))
	}
	return resp, nil
}

func (e *engineServer) CancelRequest(ctx context.Context, req *pb.CancelRequestRequest) (*pb.CancelRequestResponse, error) {
	host, err := e.engine()
	if err != nil {
		return nil, err
	}
	return &pb.CancelRequestResponse{}, host.Cancel(ctx, req.Id, req.Reason)
}

// artifactChunk is large enough to keep gRPC busy and small enough to be
// many to a connection's flow-control window.
const artifactChunk = 64 << 10

func (e *engineServer) ReadArtifact(req *pb.ReadArtifactRequest, stream grpc.ServerStreamingServer[pb.ReadArtifactResponse]) error {
	host, err := e.engine()
	if err != nil {
		return err
	}
	content, err := host.Artifact(stream.Context(), req.Id, req.Name)
	if err != nil {
		return err
	}
	return sendFile(content, func(data []byte) error { return stream.Send(&pb.ReadArtifactResponse{Data: data}) })
}

func (e *engineServer) ReadLog(req *pb.ReadLogRequest, stream grpc.ServerStreamingServer[pb.ReadLogResponse]) error {
	host, err := e.engine()
	if err != nil {
		return err
	}
	content, err := host.Log(stream.Context(), req.Id)
	if err != nil {
		return err
	}
	return sendFile(content, func(data []byte) error { return stream.Send(&pb.ReadLogResponse{Data: data}) })
}

// sendFile sends an empty message, to tell that the file is there, and then its
// content, one chunk at a time. send has encoded its argument when it returns.
func sendFile(content io.ReadCloser, send func([]byte) error) error {
	defer content.Close()
	if err := send(nil); err != nil {
		return err
	}
	buf := make([]byte, artifactChunk)
	for {
		n, err := content.Read(buf)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (e *engineServer) ForgetRequest(ctx context.Context, req *pb.ForgetRequestRequest) (*pb.ForgetRequestResponse, error) {
	host, err := e.engine()
	if err != nil {
		return nil, err
	}
	return &pb.ForgetRequestResponse{}, host.Forget(ctx, req.Id)
}

func (e *engineServer) FetchAccess(ctx context.Context, req *pb.FetchAccessRequest) (*pb.FetchAccessResponse, error) {
	host, err := e.engine()
	if err != nil {
		return nil, err
	}
	access, err := host.Access(ctx, req.Image)
	if err != nil {
		return nil, err
	}
	return &pb.FetchAccessResponse{Access: encodeAccess(&access)}, nil
}

func (e *engineServer) FetchDeniedNetworks(ctx context.Context, _ *pb.FetchDeniedNetworksRequest) (*pb.FetchDeniedNetworksResponse, error) {
	host, err := e.engine()
	if err != nil {
		return nil, err
	}
	networks, err := host.DeniedNetworks(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.FetchDeniedNetworksResponse{Networks: networks}, nil
}

// engineClient is the plugin's end of sdk.Host.
type engineClient struct {
	client           pb.EngineClient
	data, cache, url string
}

var _ sdk.Host = (*engineClient)(nil)

func newEngineClient(conn *grpc.ClientConn, req *pb.StartRequest) *engineClient {
	return &engineClient{pb.NewEngineClient(orNobody(conn)), req.DataDir, req.CacheDir, req.Address}
}

func (e *engineClient) Dirs() (data, cache string) { return e.data, e.cache }
func (e *engineClient) Address() string            { return e.url }

func (e *engineClient) Submit(ctx context.Context, user, requestType string, body json.RawMessage) (*sdk.RequestView, error) {
	resp, err := e.client.Submit(ctx, &pb.SubmitRequest{User: user, Type: requestType, Body: body})
	if err != nil {
		return nil, err
	}
	return decodeView(resp.View), nil
}

func (e *engineClient) Request(ctx context.Context, id int64) (*sdk.RequestView, error) {
	resp, err := e.client.FetchRequest(ctx, &pb.FetchRequestRequest{Id: id})
	if err != nil {
		return nil, err
	}
	return decodeView(resp.View), nil
}

func (e *engineClient) Requests(ctx context.Context, requestType string, before int64, limit int) ([]*sdk.RequestView, error) {
	resp, err := e.client.ListRequests(ctx, &pb.ListRequestsRequest{Type: requestType, Before: before, Limit: int64(limit)})
	if err != nil {
		return nil, err
	}
	var views []*sdk.RequestView
	for _, v := range resp.Views {
		views = append(views, decodeView(v))
	}
	return views, nil
}

func (e *engineClient) Cancel(ctx context.Context, id int64, reason string) error {
	_, err := e.client.CancelRequest(ctx, &pb.CancelRequestRequest{Id: id, Reason: clean(reason, MaxMessage/2)})
	return err
}

func (e *engineClient) Access(ctx context.Context, image string) (sdk.Access, error) {
	resp, err := e.client.FetchAccess(ctx, &pb.FetchAccessRequest{Image: image})
	if err != nil {
		return sdk.Access{}, err
	}
	return decodeAccess(resp.Access), nil
}

func (e *engineClient) DeniedNetworks(ctx context.Context) ([]string, error) {
	resp, err := e.client.FetchDeniedNetworks(ctx, &pb.FetchDeniedNetworksRequest{})
	if err != nil {
		return nil, err
	}
	return resp.Networks, nil
}

func (e *engineClient) Forget(ctx context.Context, id int64) error {
	_, err := e.client.ForgetRequest(ctx, &pb.ForgetRequestRequest{Id: id})
	return err
}

func (e *engineClient) Artifact(ctx context.Context, id int64, name string) (io.ReadCloser, error) {
	return receiveFile(ctx, "ReadArtifact", func(ctx context.Context) (grpc.ServerStreamingClient[pb.ReadArtifactResponse], error) {
		return e.client.ReadArtifact(ctx, &pb.ReadArtifactRequest{Id: id, Name: name})
	})
}

func (e *engineClient) Log(ctx context.Context, id int64) (io.ReadCloser, error) {
	return receiveFile(ctx, "ReadLog", func(ctx context.Context) (grpc.ServerStreamingClient[pb.ReadLogResponse], error) {
		return e.client.ReadLog(ctx, &pb.ReadLogRequest{Id: id})
	})
}

// chunk is a message that carries a part of a file.
type chunk[T any] interface {
	*T
	GetData() []byte
}

// receiveFile begins to read what sendFile sends.
func receiveFile[T any, C chunk[T]](ctx context.Context, method string, open func(context.Context) (grpc.ServerStreamingClient[T], error)) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := open(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		defer cancel()
		return nil, decodeError(ctx, "engine", method, err)
	}
	next := func() ([]byte, error) {
		resp, err := stream.Recv()
		if err == nil || errors.Is(err, io.EOF) {
			return C(resp).GetData(), err
		}
		return nil, decodeError(ctx, "engine", method, err)
	}
	return &fileReader{next, cancel, nil}, nil
}

// fileReader reads a file out of a stream. It is not for concurrent use.
type fileReader struct {
	next   func() ([]byte, error)
	cancel context.CancelFunc
	rest   []byte
}

func (r *fileReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.rest) == 0 {
		var err error
		if r.rest, err = r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *fileReader) Close() error {
	r.cancel()
	return nil
}

// nobody stands in for the engine of a plugin that was started without one.
type nobody struct{}

func orNobody(conn *grpc.ClientConn) grpc.ClientConnInterface {
	if conn == nil {
		return nobody{}
	}
	return conn
}

var errNobody = sdk.Errorf(sdk.Unavailable, "there is no engine to call")

func (nobody) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return errNobody }

func (nobody) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, encodeError(errNobody)
}
