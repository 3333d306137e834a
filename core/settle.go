package core

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/iib-engine/iib/sdk"
)

// Settle returns what becomes of the fields that an outside worker reports for
// a request that shows current (API contract, sections 3.6 and 5.3): mappings
// add up, and a field in the singular, such as fbc_fragment, is the older form
// of the list in the plural and takes its place. It is a Change's Settle.
func (h *HandlerType) Settle(current, reported map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	fields := maps.Clone(reported)
	for _, doc := range h.Doc.Fields {
		var err error
		switch doc.Shape {
		case sdk.ShapeMapping:
			err = settleMapping(doc.Name, current, fields)
		case sdk.ShapeImage:
			if list, ok := h.Field(doc.Name + "s"); ok && list.Image {
				err = settleForm(doc.Name, list.Name, current, fields)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return fields, nil
}

// settleMapping adds to what is mapped already. An image belongs to the name
// that it was reported for last, and only the request's own bundles are kept.
func settleMapping(name string, current, fields map[string]json.RawMessage) error {
	if fields[name] == nil {
		return nil
	}
	var known, reported map[string][]string
	var own []string
	_ = json.Unmarshal(current[name], &known)
	_ = json.Unmarshal(current["bundles"], &own)
	if err := json.Unmarshal(fields[name], &reported); err != nil {
		return sdk.Errorf(sdk.Internal, "decode field %s: %v", name, err)
	}
	settled := make(map[string][]string)
	for key, images := range known {
		for _, image := range images {
			moved := false
			for _, list := range reported {
				moved = moved || slices.Contains(list, image)
			}
			if !moved {
				settled[key] = append(settled[key], image)
			}
		}
	}
	for key, images := range reported {
		for _, image := range images {
			if slices.Contains(own, image) && !slices.Contains(settled[key], image) {
				settled[key] = append(settled[key], image)
			}
		}
	}
	return put(fields, name, settled)
}

// settleForm shows the older form of a list once its field has a value: the
// list is empty then, and what the first entry was resolved to stands beside
// the older field.
func settleForm(one, many string, current, fields map[string]json.RawMessage) error {
	latest := func(name string) json.RawMessage {
		if value, ok := fields[name]; ok {
			return value
		}
		return current[name]
	}
	var value, resolved *string
	var list []string
	_ = json.Unmarshal(latest(one), &value)
	if value == nil {
		return nil
	}
	_ = json.Unmarshal(latest(one+"_resolved"), &resolved)
	_ = json.Unmarshal(latest(many+"_resolved"), &list)
	if resolved == nil && len(list) > 0 {
		if err := put(fields, one+"_resolved", list[0]); err != nil {
			return err
		}
	}
	for _, name := range []string{many, many + "_resolved"} {
		if err := put(fields, name, []string{}); err != nil {
			return err
		}
	}
	return nil
}

func put(fields map[string]json.RawMessage, name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "encode field %s: %v", name, err)
	}
	fields[name] = data
	return nil
}
