package wire

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

type serviceServer struct {
	pb.UnimplementedServiceServer
	server *Server
}

// httpListener is the socket that a service answers on.
type httpListener struct {
	server *http.Server
	socket net.Listener
	path   string
}

func (s *serviceServer) Listen(context.Context, *pb.ListenRequest) (*pb.ListenResponse, error) {
	path, err := s.server.listen()
	if err != nil {
		return nil, err
	}
	return &pb.ListenResponse{Path: path}, nil
}

// listen opens the service's socket once.
func (s *Server) listen() (path string, err error) {
	if s.plugin.Service == nil {
		return "", notOffered("service")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return s.listener.path, nil
	}
	opened := &httpListener{path: filepath.Join(s.socketDir, "http")}
	l, err := net.Listen("unix", opened.path)
	if err != nil {
		return "", err
	}
	opened.server = &http.Server{
		Handler: s.plugin.Service,
		// The other side is the engine, which has limits of its own for what
		// clients send; this one only ends connections that it forgot.
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelError),
	}
	opened.socket = l
	s.listener = opened
	go func() {
		if err := opened.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("serve HTTP", "err", err)
		}
	}()
	return opened.path, nil
}

// closeListener lets running requests end, until ctx does.
func (s *Server) closeListener(ctx context.Context) error {
	s.mu.Lock()
	opened := s.listener
	s.mu.Unlock()
	if opened == nil {
		return nil
	}
	err := opened.server.Shutdown(ctx)
	// A server that has not begun to serve yet does not know its socket.
	_ = opened.socket.Close()
	if err != nil {
		_ = opened.server.Close()
	}
	return err
}

// Listen makes the plugin's service answer on a socket and returns its path.
func (c *Conn) Listen(ctx context.Context) (path string, err error) {
	resp, err := pb.NewServiceClient(c.link.conn).Listen(ctx, &pb.ListenRequest{})
	if err != nil {
		return "", err
	}
	if resp.Path == "" {
		return "", sdk.Errorf(sdk.Internal, "plugin %s: listen: the path is empty", c.name)
	}
	return resp.Path, nil
}
