package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretIsNotSeen(t *testing.T) {
	const text = "hunter2"
	holder := struct {
		Password Secret
		Pointer  *Secret
	}{text, new(Secret)}
	*holder.Pointer = text

	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%U", "%08.3f"} {
		for _, v := range []any{holder.Password, holder, []Secret{text}, map[string]Secret{"k": text}} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, text) || strings.Contains(strings.ToLower(got), fmt.Sprintf("%x", text)) {
				t.Errorf("%s of %T: %s", verb, v, got)
			}
		}
	}
	if data, err := json.Marshal(holder); err == nil {
		t.Errorf("it was marshalled: %s", data)
	}
	buf := new(bytes.Buffer)
	for _, h := range []slog.Handler{slog.NewJSONHandler(buf, nil), slog.NewTextHandler(buf, nil)} {
		slog.New(h).Info("m", "secret", holder.Password, "holder", holder)
	}
	if strings.Contains(buf.String(), text) {
		t.Errorf("it was logged: %s", buf)
	}
	if holder.Password.Reveal() != text {
		t.Error("it does not reveal itself")
	}
}
