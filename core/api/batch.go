package api

import (
	"bytes"
	"encoding/json"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// batches are the endpoints that take several requests at once (contract,
// section 2.11): each tells the request type of an item.
var batches = map[string]func(item map[string]json.RawMessage) (requestType string, err error){
	"regenerate-bundle-batch": func(map[string]json.RawMessage) (string, error) { return "regenerate-bundle", nil },
	"add-rm-batch": func(item map[string]json.RawMessage) (string, error) {
		switch {
		case truthy(item["operators"]):
			return "rm", nil
		case truthy(item["bundles"]):
			return "add", nil
		}
		return "", sdk.FieldErrorf("operators", "an item needs operators to remove or bundles to add")
	},
}

// readBatch takes a batch body apart. A bad item is marked as such: the items
// before it are judged first.
func readBatch(body json.RawMessage, typeOf func(map[string]json.RawMessage) (string, error)) ([]core.SubmissionItem, json.RawMessage, error) {
	var batch struct {
		Requests    json.RawMessage `json:"build_requests"`
		Annotations json.RawMessage `json:"annotations"`
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		return nil, nil, sdk.Errorf(sdk.Invalid, "the body is not a batch: %v", err)
	}
	var raw []json.RawMessage
	if json.Unmarshal(batch.Requests, &raw) != nil || len(raw) == 0 {
		return nil, nil, sdk.FieldErrorf("build_requests", "build_requests must be a non-empty array")
	}
	if batch.Annotations != nil && !isObject(batch.Annotations) {
		return nil, nil, sdk.FieldErrorf("annotations", "annotations must be a JSON object")
	}
	items := make([]core.SubmissionItem, 0, len(raw))
	for _, r := range raw {
		var keys map[string]json.RawMessage
		item := core.SubmissionItem{Body: r}
		if !isObject(r) || json.Unmarshal(r, &keys) != nil {
			item.Fault = sdk.Errorf(sdk.Invalid, "an item must be a JSON object")
		} else {
			item.Type, item.Fault = typeOf(keys)
		}
		items = append(items, item)
	}
	return items, batch.Annotations, nil
}

// truthy is the contract's word: neither empty nor false.
func truthy(raw json.RawMessage) bool {
	switch string(bytes.TrimSpace(raw)) {
	case "", "null", `""`, "[]", "{}", "0", "false":
		return false
	}
	return true
}
