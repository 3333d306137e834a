package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// The key that seals secrets is changed while a request waits that was sealed
// under the old one: it is opened while that is among the previous keys.
func TestTheSealingKeyIsChanged(t *testing.T) {
	t.Parallel()
	const password = "canary-rotation-3d02"
	private := newGuarded(t, password)
	keys := []string{strings.Repeat("0a", 32), strings.Repeat("1b", 32), strings.Repeat("2c", 32)}
	shipped, err := os.ReadFile("../../../iib.hcl")
	if err != nil {
		t.Fatal(err)
	}
	config := func(key, previous string) string {
		return string(shipped) + fmt.Sprintf("secrets {\n  key = %q\n  previous_keys = [%s]\n}\n", key, previous)
	}
	r := newReleases(t, startWith(t, config(keys[0], ""), t.TempDir()))
	operand := r.push("operand:v1", imagetest.Image{})
	if _, err := r.pusher.Push(t.Context(), private.open+"/private/etcd:v1", imagetest.Image{
		Arches: imagetest.Arches, Files: bundleFiles(operand), Labels: map[string]string{isBundleLabel: "true"},
	}); err != nil {
		t.Fatal(err)
	}
	// sealed returns a request that waits, with its secrets sealed, for a
	// registry that answers when it is let.
	sealed := func() (id any, let func()) {
		reached, allowed := make(chan struct{}), make(chan struct{})
		var once sync.Once
		wait := func(string) {
			once.Do(func() { close(reached) })
			<-allowed
		}
		private.inside.Store(&wait)
		status, answer := r.post("/api/v1/builds/regenerate-bundle", map[string]any{
			"from_bundle_image": private.host + "/private/etcd:v1",
			"registry_auths": map[string]any{"auths": map[string]any{
				private.host: map[string]any{"auth": base64.StdEncoding.EncodeToString([]byte("user:" + password))},
			}},
		})
		if status != http.StatusCreated {
			t.Fatalf("%d %v", status, answer)
		}
		await(t, reached)
		let = sync.OnceFunc(func() { close(allowed) })
		t.Cleanup(let)
		return answer["id"], let
	}
	restart := func(key, previous string, let func()) {
		r.stop()
		if err := os.WriteFile(r.config, []byte(config(key, previous)), 0o600); err != nil {
			t.Fatal(err)
		}
		let()
		r.start()
	}

	id, let := sealed()
	restart(keys[1], fmt.Sprintf("%q", keys[0]), let)
	if build := r.wait(id); build["state"] != "complete" {
		t.Errorf("with the old key among the previous ones: %v", build["state_reason"])
	}
	id, let = sealed() // under the new key
	restart(keys[1], "", let)
	if build := r.wait(id); build["state"] != "complete" {
		t.Errorf("without the old key: %v", build["state_reason"])
	}
	id, let = sealed()
	restart(keys[2], "", let)
	build := r.wait(id)
	if reason := fmt.Sprint(build["state_reason"]); build["state"] != "failed" || !strings.Contains(reason, "key") || strings.Contains(reason, keys[1]) {
		t.Errorf("with a key that is forgotten the request is %v: %s", build["state"], reason)
	}
}
