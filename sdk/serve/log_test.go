package serve

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

func TestHandler(t *testing.T) {
	buf := new(bytes.Buffer)
	log := slog.New(newHandler(buf, slog.LevelDebug))
	for _, c := range []struct {
		what string
		log  func()
		want map[string]any
	}{
		{"a level and a message", func() { log.Debug("m") }, map[string]any{"@level": "debug", "@message": "m"}},
		{"a level in between", func() { log.Log(t.Context(), slog.LevelWarn+1, "m") }, map[string]any{"@level": "warn", "@message": "m"}},
		{"attributes", func() { log.Error("m", "n", 7, slog.Group("g", "level", 1)) }, map[string]any{
			"@level": "error", "@message": "m", "n": 7.0, "g": map[string]any{"level": 1.0}}},
		{"attributes with the record's names", func() { log.With("level", "l").Info("m", "msg", "x", "time", "y", "@message", "z") }, map[string]any{
			"@level": "info", "@message": "m", "level_": "l", "msg_": "x", "time_": "y", "message": "z"}},
		{"attributes with the record's names in a group", func() { log.WithGroup("g").With("level", "l").Info("m", "msg", "x") }, map[string]any{
			"@level": "info", "@message": "m", "g": map[string]any{"level": "l", "msg": "x"}}},
		{"a secret", func() { log.Warn("m", "token", sdk.Secret("hunter2")) }, map[string]any{
			"@level": "warn", "@message": "m", "token": "*****"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			buf.Reset()
			c.log()
			var got map[string]any
			if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if _, err := time.Parse(time.RFC3339Nano, got["@timestamp"].(string)); err != nil {
				t.Error(err)
			}
			delete(got, "@timestamp")
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("record (-want +got):\n%s", d)
			}
		})
	}

	t.Run("keeps the rules of handlers", func(t *testing.T) {
		slogtest.Run(t, func(*testing.T) slog.Handler {
			buf.Reset()
			return newHandler(buf, slog.LevelDebug)
		}, func(t *testing.T) map[string]any {
			var got map[string]any
			if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			for hclog, std := range map[string]string{"@timestamp": slog.TimeKey, "@level": slog.LevelKey, "@message": slog.MessageKey} {
				if v, ok := got[hclog]; ok {
					got[std] = v
				}
			}
			return got
		})
	})
}

func TestLogLevel(t *testing.T) {
	for name, want := range map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
		"": slog.LevelInfo, "loud": slog.LevelInfo,
	} {
		if got := logLevel(name); got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
}
