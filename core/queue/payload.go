package queue

import (
	"encoding/json"

	"github.com/iib-engine/iib/core"
)

// traced is the payload of a task whose submission is traced. One that is not
// is the request's ID alone, which every version of this program reads.
type traced struct {
	Request int64  `json:"request"`
	Trace   string `json:"trace"`
}

func encode(d core.Dispatch) ([]byte, error) {
	if d.Trace == "" {
		return json.Marshal(d.Request)
	}
	return json.Marshal(traced{d.Request, d.Trace})
}

func decode(payload []byte) (core.Dispatch, error) {
	var request int64
	if json.Unmarshal(payload, &request) == nil {
		return core.Dispatch{Request: request}, nil
	}
	var t traced
	err := json.Unmarshal(payload, &t)
	return core.Dispatch{Request: t.Request, Trace: t.Trace}, err
}
