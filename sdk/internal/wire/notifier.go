package wire

import (
	"context"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

var eventKindTable = map[sdk.EventKind]pb.EventKind{
	sdk.RequestState: pb.EventKind_EVENT_KIND_REQUEST,
	sdk.BatchState:   pb.EventKind_EVENT_KIND_BATCH,
}

type notifierServer struct {
	pb.UnimplementedNotifierServer
	server *Server
}

func (n *notifierServer) Notify(ctx context.Context, req *pb.NotifyRequest) (*pb.NotifyResponse, error) {
	notifier := n.server.plugin.Notifier
	if notifier == nil {
		return nil, notOffered("notifier")
	}
	e := req.GetEvent()
	event := &sdk.Event{
		ID:       e.GetId(),
		Time:     decodeTime(e.GetTime()),
		Delivery: int(e.GetDelivery()),
		Request:  e.GetRequest(),
		Batch:    e.GetBatch(),
		State:    e.GetState(),
		User:     e.GetUser(),
		Body:     raw(e.GetBody()),
	}
	for kind, wire := range eventKindTable {
		if wire == e.GetKind() {
			event.Kind = kind
		}
	}
	return &pb.NotifyResponse{}, notifier.Notify(ctx, event)
}

type notifierClient struct{ client pb.NotifierClient }

// Notifier returns the plugin's notifier.
func (c *Conn) Notifier() sdk.Notifier { return &notifierClient{pb.NewNotifierClient(c.link.conn)} }

func (n *notifierClient) Notify(ctx context.Context, e *sdk.Event) error {
	_, err := n.client.Notify(ctx, &pb.NotifyRequest{Event: &pb.Event{
		Id:       e.ID,
		Kind:     eventKindTable[e.Kind],
		Time:     encodeTime(e.Time),
		Delivery: int64(e.Delivery),
		Request:  e.Request,
		Batch:    e.Batch,
		State:    e.State,
		User:     e.User,
		Body:     e.Body,
	}})
	return err
}
