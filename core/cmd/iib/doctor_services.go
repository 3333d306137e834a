package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/iib-engine/iib/core/config"
	"github.com/iib-engine/iib/core/images"
	"github.com/iib-engine/iib/sdk"
)

func (d *doctor) checkDatabase() []finding {
	c, err := d.database()
	switch {
	case sdk.CodeOf(err) == sdk.Invalid:
		return []finding{wrong("correct database.url", "%v", err)}
	case err != nil && c != nil && c.File != "":
		return []finding{wrong("check that "+c.File+" is a database and can be read; a backup may have to be restored", "%v", err)}
	case err != nil:
		return []finding{wrong("check that the server of database.url runs, is reachable from here, and lets this user in with this password", "%v", err)}
	case c.Missing:
		return []finding{okay("%s: %s will be made at the first start", c.System, c.File)}
	}
	state := fmt.Sprintf("%s, migration %d of %d, %s", c.System, c.Schema, c.Newest, round(c.RoundTrip))
	switch {
	case c.Oldest > c.Newest:
		return []finding{wrong("start a newer program, or restore a backup from before the upgrade",
			"%s: the database takes programs that know at least migration %d", state, c.Oldest)}
	case c.Refused != "":
		return []finding{wrong("give the engine's user the right to write, or name another database in database.url", "%s: %s", state, c.Refused)}
	case c.Schema == 0:
		return []finding{okay("%s: the database is empty, and its tables will be made at the first start", state)}
	case c.Schema > c.Newest:
		return []finding{note("%s: a newer program has migrated the database, and this one works on it too", state)}
	case c.Schema < c.Newest:
		return []finding{note("%s: the next start migrates it; from then on it takes programs that know at least migration %d, so take a backup before",
			state, c.Oldest)}
	}
	return []finding{okay("%s", state)}
}

func (d *doctor) checkRedis() []finding {
	if d.config.Redis.URL.Reveal() == "" {
		return []finding{okay("embedded: it runs inside of the server and keeps nothing")}
	}
	c, err := d.redis()
	switch sdk.CodeOf(err) {
	case "":
	case sdk.Invalid:
		return []finding{wrong("correct redis.url", "%v", err)}
	case sdk.Denied:
		return []finding{wrong("correct the user and the password in redis.url, or the rights of that user", "%v", err)}
	default:
		return []finding{wrong("check that the server of redis.url runs and is reachable from here; until then requests are accepted and run later", "%v", err)}
	}
	state := fmt.Sprintf("Redis %s, %s", c.Version, round(c.RoundTrip))
	found := []finding{okay("%s", state)}
	switch {
	case older(c.Version, 4):
		found[0] = wrong("use Redis 4 or a newer one", "%s: it lacks commands that the queue needs", state)
	case c.Replica:
		found[0] = wrong("name the primary in redis.url, or Sentinel", "%s: it is a replica and takes no writes", state)
	case c.SaveFailed:
		found[0] = wrong("look at its log and its disk", "%s: it could not save what it holds, and takes no writes until it can", state)
	case strings.HasPrefix(c.Policy, "allkeys-"):
		found[0] = warning("set its maxmemory-policy to noeviction", "%s: with maxmemory-policy %s it may drop tasks when its memory is full; their requests start late", state, c.Policy)
	}
	if !c.AppendOnly {
		found = append(found, note("it keeps no append-only file, and need not: what it loses is filled again from the database"))
	}
	return found
}

// older tells whether a version such as 7.0.15 has a smaller first number. One
// that is not understood is not older.
func older(version string, major int) bool {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	return err == nil && n < major
}

// registryClock is what a registry's clock says, and this machine's then.
type registryClock struct{ its, ours time.Time }

// tryPush pushes nothing to the registry of results.
func (d *doctor) tryPush(ctx context.Context) (registryClock, error) {
	o := imageOptions(d.config, ownRegistry(d.config, dialable(d.config.Server.Listen)))
	o.CacheDir = ""
	registry, err := images.New(o)
	if err != nil {
		return registryClock{}, err
	}
	began := time.Now()
	its, err := registry.TryPush(ctx)
	return registryClock{its, began.Add(time.Since(began) / 2)}, err
}

func (d *doctor) checkRegistry() []finding {
	const what = "a push to %s is accepted"
	if address := d.config.Registry.Address; address != "" {
		if _, err := d.push(); err != nil {
			return []finding{wrong(registryAdvice(err), "%v", err)}
		}
		return []finding{okay(what, address)}
	}
	if !slices.ContainsFunc(d.config.PluginsOf("service"), func(p *config.Plugin) bool { return slices.Contains(p.Mounts, "/v2/") }) {
		return []finding{wrong(`write registry.address, or enable the block plugin "registry" with the mount /v2/`, "there is no registry to push to")}
	}
	if d.engine().parts == nil {
		return []finding{okay("embedded: the plugin mounted at /v2/ answers when the server runs")}
	}
	if _, err := d.push(); err != nil {
		return []finding{wrong(registryAdvice(err), "embedded: %v", err)}
	}
	return []finding{okay("embedded: "+what, "it")}
}

func registryAdvice(err error) string {
	switch sdk.CodeOf(err) {
	case sdk.Denied:
		return "check the registry's credentials in the file of registry.auth_file, its certificate in registry.ca_files, and registry.denied_networks"
	case sdk.NotFound, sdk.Invalid:
		return "correct registry.address and registry.push"
	}
	return "check that the registry runs and is reachable from here; until then requests wait and are tried again"
}

// checkBucket is for artifacts that are kept in one.
func (d *doctor) checkBucket(ctx context.Context) []finding {
	files, err := openBucket(d.config.Artifacts)
	if err == nil {
		err = files.Ping(ctx)
	}
	if err != nil {
		return []finding{wrong("check that the service of artifacts.s3 runs and is reachable from here, its certificate in ca_file, the name of the bucket, and that the keys may list it", "%v", err)}
	}
	return []finding{okay("%s can be listed", d.config.Artifacts.S3.Bucket)}
}

// tolerable is by how much clocks may differ.
const tolerable = 5 * time.Second

func (d *doctor) checkClocks() []finding {
	var found []finding
	database, err := d.database()
	switch {
	case err != nil:
		found = append(found, unchecked("the clock of the database: it does not answer"))
	case database.File != "":
		found = append(found, okay("the database is on this machine and has no clock of its own"))
	default:
		found = append(found, compared("database", database.Ahead,
			"its administrators, backups and replicas see other times than the engine writes"))
	}
	if d.config.Registry.Address == "" {
		return found
	}
	clock, err := d.push()
	switch {
	case err != nil:
		return append(found, unchecked("the clock of the registry: it does not answer as it should"))
	case clock.its.IsZero():
		return append(found, note("the registry does not tell the time"))
	}
	// Its time has no fractions of a second.
	return append(found, compared("registry", clock.its.Sub(clock.ours.Truncate(time.Second)),
		"tokens seem expired or not valid yet, and times that tags are put back to are read wrongly"))
}

func compared(whose string, ahead time.Duration, consequence string) finding {
	if ahead.Abs() <= tolerable {
		return okay("no more than %s apart from the clock of the %s", tolerable, whose)
	}
	where := "ahead of"
	if ahead < 0 {
		where = "behind"
	}
	return warning("have all machines set their clocks by one time server (chrony, systemd-timesyncd)",
		"the clock of the %s is %s %s this machine's: %s", whose, ahead.Abs().Round(time.Second), where, consequence)
}

// engineAnswer is what is at the API's address. Neither is set if nobody is.
type engineAnswer struct {
	// parts are what /readyz of an engine tells; nil if it is none.
	parts map[string]string
	// stranger is what else answers.
	stranger string
}

// askEngine asks for /readyz at the API's address.
func askEngine(ctx context.Context, c *config.Config) engineAnswer {
	scheme := "http"
	// Who answers at this machine's own address is asked for its health and told
	// nothing, so it matters little whose certificate it has.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	if c.Server.TLS != nil {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+dialable(c.Server.Listen)+"/readyz", nil)
	if err != nil {
		return engineAnswer{}
	}
	response, err := client.Do(request)
	if err != nil {
		return engineAnswer{stranger: "what listens there does not answer as an engine does"}
	}
	defer response.Body.Close()
	var answer struct{ Parts map[string]string }
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil || json.Unmarshal(body, &answer) != nil || answer.Parts == nil {
		return engineAnswer{stranger: fmt.Sprintf("what listens there answers /readyz with %d and is no engine", response.StatusCode)}
	}
	return engineAnswer{parts: answer.Parts}
}

// ailing names the parts that are not well, with what ails them.
func (a engineAnswer) ailing() string {
	var parts []string
	for name, state := range a.parts {
		if state != "ok" {
			parts = append(parts, name+": "+state)
		}
	}
	sort.Strings(parts)
	return strings.Join(parts, "; ")
}

// dialable returns where to reach what listens at an address of this machine.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// round makes a duration short to read.
func round(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
