package wire

import (
	"encoding/json"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

func encodeTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func decodeTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func encodeRequest(r *sdk.Request) *pb.Request {
	return &pb.Request{
		Id:        r.ID,
		Type:      r.Type,
		User:      r.User,
		Batch:     r.Batch,
		Queue:     r.Queue,
		Target:    r.Target,
		Overwrite: r.Overwrite,
		Params:    r.Params,
		Accepted:  encodeTime(r.Accepted),
		Attempt:   int64(r.Attempt),
	}
}

func decodeRequest(r *pb.Request) sdk.Request {
	return sdk.Request{
		ID:        r.GetId(),
		Type:      r.GetType(),
		User:      r.GetUser(),
		Batch:     r.GetBatch(),
		Queue:     r.GetQueue(),
		Target:    r.GetTarget(),
		Overwrite: r.GetOverwrite(),
		Params:    raw(r.GetParams()),
		Accepted:  decodeTime(r.GetAccepted()),
		Attempt:   int(r.GetAttempt()),
	}
}

func encodeView(v *sdk.RequestView) *pb.RequestView {
	if v == nil {
		return nil
	}
	return &pb.RequestView{
		Request: encodeRequest(&v.Request),
		State:   v.State,
		Reason:  clean(v.Reason, MaxMessage),
		Updated: encodeTime(v.Updated),
		Arches:  v.Arches,
		Fields:  encodeFields(v.Fields),
	}
}

func decodeView(v *pb.RequestView) *sdk.RequestView {
	return &sdk.RequestView{
		Request: decodeRequest(v.GetRequest()),
		State:   v.GetState(),
		Reason:  v.GetReason(),
		Updated: decodeTime(v.GetUpdated()),
		Arches:  v.GetArches(),
		Fields:  decodeFields(v.GetFields()),
	}
}

// raw returns bytes as JSON, nil if there are none.
func raw(data []byte) json.RawMessage {
	if len(data) == 0 {
		return nil
	}
	return data
}

func encodeFields(fields map[string]json.RawMessage) map[string][]byte {
	if len(fields) == 0 {
		return nil
	}
	encoded := make(map[string][]byte, len(fields))
	for name, value := range fields {
		encoded[name] = value
	}
	return encoded
}

func decodeFields(fields map[string][]byte) map[string]json.RawMessage {
	if len(fields) == 0 {
		return nil
	}
	decoded := make(map[string]json.RawMessage, len(fields))
	for name, value := range fields {
		decoded[name] = value
	}
	return decoded
}

// checkFields refuses values that are not JSON: they come from a plugin and
// would spoil the document that they become part of.
func checkFields(fields map[string][]byte) error {
	for name, value := range fields {
		if !json.Valid(value) {
			return sdk.FieldErrorf(name, "field %s: the value is not JSON", name)
		}
	}
	return nil
}
