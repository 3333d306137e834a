package wire

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

type handlerServer struct {
	pb.UnimplementedHandlerServer
	server *Server
}

func (h *handlerServer) handler(requestType string) (sdk.Handler, error) {
	if handler, ok := h.server.plugin.Handlers[requestType]; ok {
		return handler, nil
	}
	return nil, notOffered("handler of " + requestType)
}

func (h *handlerServer) Accept(ctx context.Context, req *pb.AcceptRequest) (*pb.AcceptResponse, error) {
	handler, err := h.handler(req.Type)
	if err != nil {
		return nil, err
	}
	sub := &sdk.Submission{
		Type:       req.Type,
		User:       req.User,
		Privileged: req.Privileged,
		Body:       raw(req.Body),
	}
	decodeAcceptance(req.Acceptance, sub)
	if a, ok := handler.(sdk.Acceptor); ok {
		if err := a.Accept(ctx, sub); err != nil {
			return nil, err
		}
	}
	return &pb.AcceptResponse{Acceptance: encodeAcceptance(sub)}, nil
}

func (h *handlerServer) Handle(ctx context.Context, req *pb.HandleRequest) (*pb.HandleResponse, error) {
	request := decodeRequest(req.Request)
	handler, err := h.handler(request.Type)
	if err != nil {
		return nil, err
	}
	job := sdk.NewJob(request, req.Workspace, req.CacheDir, newJobClient(h.server.engine, req.Token))
	if err := handler.Handle(ctx, job); err != nil {
		return nil, err
	}
	return &pb.HandleResponse{Outcome: clean(job.Outcome(), MaxMessage/2)}, nil
}

func (h *handlerServer) Preview(ctx context.Context, req *pb.PreviewRequest) (*pb.PreviewResponse, error) {
	request := decodeRequest(req.Request)
	handler, err := h.handler(request.Type)
	if err != nil {
		return nil, err
	}
	previewer, ok := handler.(sdk.Previewer)
	if !ok {
		return nil, notOffered("preview of " + request.Type)
	}
	preview, err := previewer.Preview(ctx, sdk.NewJob(request, req.Workspace, req.CacheDir, newJobClient(h.server.engine, req.Token)))
	if err != nil {
		return nil, err
	}
	if preview == nil {
		return nil, sdk.Errorf(sdk.Internal, "the handler of %s previewed nothing", request.Type)
	}
	return &pb.PreviewResponse{Problems: preview.Problems, Packages: preview.Packages}, nil
}

func encodeAcceptance(s *sdk.Submission) *pb.Acceptance {
	a := &pb.Acceptance{
		Params:    s.Params,
		Fields:    encodeFields(s.Fields),
		Target:    s.Target,
		Overwrite: s.Overwrite,
	}
	for name, secret := range s.Secrets {
		if a.Secrets == nil {
			a.Secrets = make(map[string]string)
		}
		a.Secrets[name] = secret.Reveal()
	}
	for _, g := range s.Grants {
		a.Grants = append(a.Grants, &pb.Grant{Scope: g.Scope, Username: g.Username, Password: g.Password.Reveal()})
	}
	return a
}

// decodeAcceptance replaces the lower half of s.
func decodeAcceptance(a *pb.Acceptance, s *sdk.Submission) {
	s.Params = raw(a.GetParams())
	s.Fields = decodeFields(a.GetFields())
	s.Secrets, s.Grants = nil, nil
	for name, secret := range a.GetSecrets() {
		if s.Secrets == nil {
			s.Secrets = make(map[string]sdk.Secret)
		}
		s.Secrets[name] = sdk.Secret(secret)
	}
	for _, g := range a.GetGrants() {
		s.Grants = append(s.Grants, sdk.Grant{
			Scope: g.GetScope(), Username: g.GetUsername(), Password: sdk.Secret(g.GetPassword()),
		})
	}
	s.Target = a.GetTarget()
	s.Overwrite = a.GetOverwrite()
}

// HandlerClient is a plugin's handler of one request type.
type HandlerClient struct {
	conn    *Conn
	client  pb.HandlerClient
	accepts bool
	doc     sdk.HandlerDoc
}

var (
	_ sdk.Handler   = (*HandlerClient)(nil)
	_ sdk.Acceptor  = (*HandlerClient)(nil)
	_ sdk.Describer = (*HandlerClient)(nil)
	_ sdk.Previewer = (*HandlerClient)(nil)
)

// Handler returns the handler that d describes.
func (c *Conn) Handler(d *pb.HandlerDescription) *HandlerClient {
	return &HandlerClient{c, pb.NewHandlerClient(c.link.conn), d.Accepts, HandlerDoc(d)}
}

// Describe returns what the handler said before it was configured.
func (h *HandlerClient) Describe() sdk.HandlerDoc { return h.doc }

// Accept calls the plugin if its handler has an Accept, and otherwise leaves
// the submission as it is.
func (h *HandlerClient) Accept(ctx context.Context, sub *sdk.Submission) error {
	if !h.accepts {
		return nil
	}
	resp, err := h.client.Accept(ctx, &pb.AcceptRequest{
		Type:       sub.Type,
		User:       sub.User,
		Privileged: sub.Privileged,
		Body:       sub.Body,
		Acceptance: encodeAcceptance(sub),
	})
	if err != nil {
		return err
	}
	a := resp.GetAcceptance()
	if err := checkAcceptance(a); err != nil {
		return sdk.Errorf(sdk.Internal, "plugin %s: accept: %v", h.conn.name, err)
	}
	decodeAcceptance(a, sub)
	return nil
}

func checkAcceptance(a *pb.Acceptance) error {
	if len(a.GetParams()) > 0 {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(a.Params, &object); err != nil || object == nil {
			return sdk.Errorf(sdk.Internal, "the parameters are no JSON object")
		}
	}
	return checkFields(a.GetFields())
}

// Handle runs the job in the plugin. What the plugin asks of the job goes to
// job.Host.
func (h *HandlerClient) Handle(ctx context.Context, job *sdk.Job) error {
	token, end := h.conn.calls.begin(ctx, &call{job: job.Host()})
	defer end()
	resp, err := h.client.Handle(ctx, &pb.HandleRequest{
		Token:     token,
		Request:   encodeRequest(&job.Request),
		Workspace: job.Workspace,
		CacheDir:  job.CacheDir,
	})
	if err != nil {
		return err
	}
	if resp.Outcome != "" {
		job.Done("%s", resp.Outcome)
	}
	return nil
}

// Preview runs a preview in the plugin. What the plugin asks of the job goes to
// job.Host.
func (h *HandlerClient) Preview(ctx context.Context, job *sdk.Job) (*sdk.Preview, error) {
	token, end := h.conn.calls.begin(ctx, &call{job: job.Host()})
	defer end()
	resp, err := h.client.Preview(ctx, &pb.PreviewRequest{
		Token:     token,
		Request:   encodeRequest(&job.Request),
		Workspace: job.Workspace,
		CacheDir:  job.CacheDir,
	})
	if err != nil {
		return nil, err
	}
	preview := &sdk.Preview{Problems: resp.Problems, Packages: raw(resp.Packages)}
	var list []json.RawMessage
	if len(preview.Packages) > 0 && json.Unmarshal(preview.Packages, &list) != nil {
		return nil, sdk.Errorf(sdk.Internal, "plugin %s: preview: the packages are no JSON array", h.conn.name)
	}
	return preview, nil
}
