package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// Processes that share no directory share a bucket.
func TestLogsAndArtifactsInABucket(t *testing.T) {
	t.Parallel()
	s3 := coretest.StartS3(t)
	dir := t.TempDir()
	secret := canaries{"the access key": s3.AccessKey, "the secret key": s3.SecretKey}
	for name, key := range map[string]string{"access": s3.AccessKey, "secret": s3.SecretKey} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const keep = `keep = "72h"`
	c := startClusterWith(t, 1, fmt.Sprintf("artifacts {\n  %s\n  s3 {\n    bucket     = %q\n    region     = \"us-east-1\"\n    endpoint   = %q\n    prefix     = \"iib/\"\n    access_key = file(%q)\n    secret_key = file(%q)\n  }\n}\n",
		keep, s3.Bucket, s3.Endpoint, filepath.Join(dir, "access"), filepath.Join(dir, "secret")))
	processes := append([]*process{c.process}, c.workers...)
	var answers []byte
	get := func(path string) (int, string) {
		status, body := c.get(path)
		answers = append(answers, body...)
		return status, string(body)
	}
	logs := func(id any) string { return fmt.Sprintf("/api/v1/builds/%v/logs", id) }

	var id any
	t.Run("a log is followed while a worker elsewhere writes it", func(t *testing.T) {
		specs, _ := c.bundles(1, 1)
		index := c.emptyIndex("index:v4.14", fileBased, false)
		var open func()
		id, open = c.addHeld(index, specs[0])
		followed := c.followed(id)
		c.holder(followed, 1)
		open()
		if build := c.wait(id); build["state"] != "complete" {
			t.Fatalf("%v", build["state_reason"])
		}
		status, whole := get(logs(id))
		if status != http.StatusOK || !strings.Contains(whole, "The bundles were added") {
			t.Errorf("%d, and the log does not tell the end:\n%s", status, whole)
		}
		for range poll(t) {
			if followed.String() == whole {
				break
			}
		}
	})

	t.Run("an artifact is downloaded", func(t *testing.T) {
		operand := c.push("operand:v1", imagetest.Image{})
		nested := c.bundle("nested:v1", operand)
		build := c.run("recursive-related-bundles", "complete", map[string]any{"parent_bundle_image": c.bundle("parent:v1", nested)})
		if list := c.list(build, "nested-bundles"); !slices.Contains(list, nested) {
			t.Errorf("the artifact has %v, without %s", list, nested)
		}

		// One that comes to an end too early does not look like a short one.
		s3.Break(func(r *http.Request) coretest.S3Fault {
			if strings.Contains(r.URL.Path, "/artifact/") {
				return coretest.S3Truncation
			}
			return coretest.S3Fine
		})
		defer s3.Break(nil)
		response, err := http.Get(fmt.Sprintf("%s/api/v1/builds/%v/nested-bundles", c.url, build["id"]))
		if err == nil {
			_, err = io.ReadAll(response.Body)
			response.Body.Close()
		}
		if err == nil {
			t.Error("a part of an artifact passed for the whole")
		}
	})

	t.Run("nothing of it is in a directory", func(t *testing.T) {
		for _, p := range processes {
			if found, err := filepath.Glob(filepath.Join(p.dataDir, "artifacts*")); err != nil || len(found) > 0 {
				t.Errorf("%v %v", found, err)
			}
		}
		if prefix := fmt.Sprintf("iib/requests/%v/log/", id); !slices.ContainsFunc(s3.Keys(t), func(key string) bool { return strings.HasPrefix(key, prefix) }) {
			t.Errorf("the bucket has no log of request %v: %v", id, s3.Keys(t))
		}
	})

	t.Run("a bucket that is away is named, and stops no request that leaves nothing but a log", func(t *testing.T) {
		for _, fault := range []coretest.S3Fault{coretest.S3SlowDown, coretest.S3Refused} {
			s3.Break(func(*http.Request) coretest.S3Fault { return fault })
			for range poll(t) {
				if status, body := get("/readyz"); status == http.StatusServiceUnavailable && strings.Contains(body, `"bucket":"bucket `+s3.Bucket) {
					break
				}
			}
			specs, _ := c.bundles(10+len(fault), 1)
			index := c.emptyIndex("away-"+string(fault)+":v4.14", fileBased, false)
			began := time.Now()
			c.run("add", "complete", map[string]any{"bundles": specs, "from_index": index, "binary_image": c.base})
			t.Logf("without the bucket (%s) a request took %s", fault, time.Since(began).Round(time.Millisecond))
			if status, body := get(logs(id)); status != http.StatusServiceUnavailable {
				t.Errorf("a log that cannot be read: %d %s", status, body)
			}
		}
		s3.Break(nil)
		for range poll(t) {
			if status, body := get("/readyz"); status == http.StatusOK && strings.Contains(body, `"bucket":"ok"`) {
				break
			}
		}
	})

	t.Run("it expires", func(t *testing.T) {
		config, err := os.ReadFile(c.config)
		if err != nil {
			t.Fatal(err)
		}
		if out := c.want(exitOK, []string{"REQUEST"}, "sweep", "--dry-run", "--config", c.config); strings.Contains(out, fmt.Sprintf("\n%v ", id)) {
			t.Errorf("files that are kept would be removed:\n%s", out)
		}
		c.reload(strings.Replace(string(config), keep, `keep = "1ms"`, 1))
		c.want(exitOK, []string{fmt.Sprintf("\n%v ", id)}, "sweep", "--config", c.config)
		if left := s3.Keys(t); len(left) > 0 {
			t.Errorf("the sweep left %v", left)
		}
		if status, body := get(logs(id)); status != http.StatusGone {
			t.Errorf("a log that has expired: %d %s", status, body)
		}
	})

	t.Run("neither key is shown", func(t *testing.T) {
		places := map[string][]byte{"the answers of the API": answers}
		for i, p := range processes {
			places[fmt.Sprintf("the log of process %d", i)] = []byte(p.stderr.String())
			for _, program := range []string{"iib", "index-add"} {
				pids := p.pids(program)
				if program == "iib" {
					pids = []int{p.command.Process.Pid}
				}
				for _, pid := range pids {
					for _, file := range []string{"cmdline", "environ"} {
						data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
						if err != nil {
							t.Error(err)
						}
						places[fmt.Sprintf("%s of %s, process %d", file, program, i)] = data
					}
				}
			}
		}
		if control := (canaries{"control": s3.Bucket}); len(control.in(answers)) == 0 || len(places) < 9 {
			t.Errorf("there is hardly anything to look at: %d places", len(places))
		}
		for place, data := range places {
			if found := secret.in(data); len(found) > 0 {
				t.Errorf("%s has %v", place, found)
			}
		}
	})
}
