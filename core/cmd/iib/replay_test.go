package main

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// iib runs the command line against this server.
func (p *process) iib(args ...string) string {
	p.t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(p.t.Context(), append(args, "--server", p.url), &stdout, &stderr); code != exitOK {
		p.t.Fatalf("iib %s: exit code %d\n%s", strings.Join(args, " "), code, &stderr)
	}
	return stdout.String()
}

func TestParkedEventsAreShownAndDeliveredAgain(t *testing.T) {
	r := newReceiver(t)
	r.up()
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no such topic", http.StatusNotFound)
	})
	r.answer.Store(&refuse)
	p := startServer(t, echoes(t, r.config()))
	ids := p.echo(2)
	p.wait(ids[0])
	p.wait(ids[1])
	for range poll(t) {
		if s := p.standing(); s.Parked == 10 && s.Waiting == 0 {
			break
		}
	}
	list := p.iib("notifier", "list")
	if !regexp.MustCompile(`(?m)^webhook-notify +true +0 +0 +10 +- +\S+Z +webhook \S+ answered 404 Not Found: no such topic$`).MatchString(list) {
		t.Errorf("the list is\n%s", list)
	}
	events := p.iib("notifier", "events", "webhook-notify", "--parked")
	if n := strings.Count(events, " true "); n != 10 || !strings.Contains(events, "no such topic") {
		t.Errorf("the events are\n%s", events)
	}
	r.answer.Store(nil)
	if said := p.iib("events", "replay", "webhook-notify", "--parked", "--request", fmt.Sprint(ids[0])); !strings.HasPrefix(said, "3 events") {
		t.Errorf("the first replay said %s", said)
	}
	if said := p.iib("events", "replay", "webhook-notify", "--parked"); !strings.HasPrefix(said, "7 events") {
		t.Errorf("the second replay said %s", said)
	}
	p.awaitDelivered()
	checkPosts(t, p, r.got(), ids)
	before := len(r.got())
	if said := p.iib("events", "replay", "webhook-notify", "--request", fmt.Sprint(ids[1])); !strings.HasPrefix(said, "3 events") {
		t.Errorf("the third replay said %s", said)
	}
	p.awaitDelivered()
	if repeated := checkPosts(t, p, r.got(), ids); repeated != 3 || len(r.got()) != before+3 {
		t.Errorf("%d posts were repetitions", repeated)
	}
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"events", "replay", "webhook-notify", "--server", p.url}, &stderr, &stderr); code != exitUsage {
		t.Errorf("a replay of nothing chosen: %d %s", code, &stderr)
	}

	t.Run("a notifier in use is not forgotten, one that is gone is", func(t *testing.T) {
		if status, _, body := p.do(http.MethodDelete, "/api/v1/notifiers/webhook-notify", "", nil); status != http.StatusConflict {
			t.Errorf("%d %s", status, body)
		}
		p.reload(shippedWithout(t, "#   check it:    bin/iib validate iib.hcl\n"))
		if list := p.iib("notifier", "list"); !strings.Contains(list, "webhook-notify  false") {
			t.Errorf("the list is\n%s", list)
		}
		p.iib("notifier", "forget", "webhook-notify")
		if list := p.iib("notifier", "list"); strings.Contains(list, "webhook-notify") {
			t.Errorf("the list is\n%s", list)
		}
	})
}

func TestOnlyWorkersReplayAndForget(t *testing.T) {
	p := contractServer(t)
	for _, c := range []struct {
		method, path, body, user string
		status                   int
	}{
		{http.MethodGet, "", "", "", http.StatusUnauthorized},
		{http.MethodGet, "", "", jane, http.StatusOK},
		{http.MethodGet, "/bell/events", "", jane, http.StatusOK},
		{http.MethodGet, "/bell/events?after=x", "", jane, http.StatusBadRequest},
		{http.MethodPost, "/bell/replay", `{"parked":true}`, "", http.StatusUnauthorized},
		{http.MethodPost, "/bell/replay", `{"parked":true}`, jane, http.StatusForbidden},
		{http.MethodPost, "/bell/replay", `{"parked":true}`, worker, http.StatusNotFound},
		{http.MethodPost, "/bell/replay", `{}`, worker, http.StatusBadRequest},
		{http.MethodPost, "/bell/replay", `{"parked":1}`, worker, http.StatusBadRequest},
		{http.MethodPost, "/bell/replay", `{"form":1}`, worker, http.StatusBadRequest},
		{http.MethodPost, "/bell/replay", `{"from":-1}`, worker, http.StatusBadRequest},
		{http.MethodDelete, "/bell", "", jane, http.StatusForbidden},
		{http.MethodDelete, "/bell", "", worker, http.StatusNoContent},
	} {
		t.Run(fmt.Sprintf("%s %s %s by %q", c.method, c.path, c.body, c.user), func(t *testing.T) {
			status, _, body := p.do(c.method, "/api/v1/notifiers"+c.path, c.body, map[string]string{identityHeader: c.user})
			if status != c.status {
				t.Errorf("%d %s, want %d", status, body, c.status)
			}
		})
	}
}
