package store

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/iib-engine/iib/sdk"
)

// micros returns a time as it is stored, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// moment is the inverse of micros.
func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// text makes a string fit for a text column: reasons may quote bytes that came
// from anywhere, and PostgreSQL refuses what is not UTF-8, or has a zero byte.
func text(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// texts returns the sorted set of strings made fit. Sorted, because two
// transactions that write the same rows must do so in the same order.
func texts(all []string) []string {
	set := make([]string, 0, len(all))
	for _, s := range all {
		set = append(set, text(s))
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// encode returns a value as JSON text. Raw messages within keep their bytes
// but for white space.
func encode(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", sdk.Errorf(sdk.Internal, "encode what is to be stored: %v", err)
	}
	return text(strings.TrimSuffix(b.String(), "\n")), nil
}

// decode is the inverse of encode.
func decode(stored string, v any) error {
	if err := json.Unmarshal([]byte(stored), v); err != nil {
		return sdk.Errorf(sdk.Internal, "decode what was stored: %v", err)
	}
	return nil
}

// object returns a JSON object's text, "{}" for none, and an error that blames
// what for anything else.
func object(what string, raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "{}", nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return "", sdk.FieldErrorf(what, "%s must be a JSON object", what)
	}
	return text(string(raw)), nil
}
