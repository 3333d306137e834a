package wire

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"runtime/debug"
	"strings"

	"google.golang.org/grpc"

	"github.com/iib-engine/iib/sdk"
)

// unary surrounds every call of our services in a plugin: it admits the call,
// survives a panic, and encodes the error.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (reply any, err error) {
	if !ours(info.FullMethod) {
		return next(ctx, req)
	}
	err = guard(slog.Default(), "plugin "+s.plugin.Name, info.FullMethod, func() error {
		if !strings.HasPrefix(info.FullMethod, prefix+"Plugin/") {
			if err := s.life.enter(path.Base(info.FullMethod), running); err != nil {
				return err
			}
			defer s.life.leave()
		}
		var err error
		reply, err = next(ctx, req)
		return err
	})
	return reply, err
}

// guard runs a call and returns its error for the wire. A panic is the callee's
// fault: its text may hold anything, so it goes to the log and not to the
// requester.
func guard(log *slog.Logger, who, method string, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("panic", "method", path.Base(method), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = sdk.Errorf(sdk.Internal, "%s: %s: panic; its log tells more", who, path.Base(method))
		}
		err = encodeError(err)
	}()
	return call()
}
