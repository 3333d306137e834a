package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/iib-engine/iib/core/coretest/ledger"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// errand is a request that a user wants to be done, with what must come of it.
type errand struct {
	ledger.Request
	user string
	body map[string]any
	// shows are the bundles of the index that is built, for one that overwrites
	// none; nil if it builds no index.
	shows map[string][]string
	// build is what the API said of it when it had ended.
	build map[string]any
}

// errands makes up requests and what they need.
type errands struct {
	*releases
	random *rand.Rand
	// indexes are overwritten; a catalog and a bundle are only read.
	indexes         []*editedIndex
	static          string
	staticContents  map[string][]string
	source          string
	sourceContents  map[string][]string
	related, nested string
	made            int
}

// editedIndex is an index that errands overwrite, with the operators in it that
// no errand has had to do with yet.
type editedIndex struct {
	spec  string
	kind  indexKind
	fresh []freshOperator
}

// freshOperator has a first version in an index, and a second one that is not.
type freshOperator struct {
	first  catalogtest.Bundle
	second catalogtest.Bundle
	update string
}

// operator makes up an operator with so many versions and pushes it.
func (e *errands) operator(versions int) (specs []string, list []catalogtest.Bundle) {
	e.made++
	name := fmt.Sprintf("operator-%04d", e.made)
	for v := range versions {
		b := catalogtest.Bundle{
			Package: name, Name: fmt.Sprintf("%s.v1.%d.0", name, v), Version: fmt.Sprintf("1.%d.0", v),
			Channels: []string{"stable"}, DefaultChannel: "stable",
		}
		if v > 0 {
			b.Replaces = list[v-1].Name
		}
		labels := maps.Clone(b.Labels())
		labels["com.redhat.openshift.versions"] = "v4.5"
		specs = append(specs, e.push(fmt.Sprintf("%s:v%d", name, v), imagetest.Image{Labels: labels, Files: b.Files()}))
		list = append(list, b)
	}
	return specs, list
}

// newErrands pushes what all of them share. The first errands, which fill the
// indexes that the others change, are to be done before the others.
func newErrands(r *releases, random *rand.Rand, count int) (e *errands, first []*errand) {
	e = &errands{releases: r, random: random}
	e.static = e.catalogIndex("static:v4.14", catalogtest.Spec{Packages: 3, Bundles: 1, Text: 50}, "amd64", "s390x")
	e.staticContents = e.contents(e.static)
	operand := e.push("operand:v1", imagetest.Image{})
	e.nested = e.bundle("nested:v1", operand)
	e.related = e.bundle("related:v1", operand, e.nested)
	e.source = e.emptyIndex("source:v4.14", fileBased, false)
	sourceSpecs, sourceList := e.operator(1)
	e.sourceContents = names(sourceList)
	first = append(first, e.add(users[0], e.source, sourceSpecs, sourceList))
	for i, kind := range []indexKind{fileBased, withHidden, sqliteKind} {
		x := &editedIndex{kind: kind, spec: e.emptyIndex(fmt.Sprintf("edited-%d:v4.14", i), kind, false)}
		var specs []string
		var list []catalogtest.Bundle
		for range 2 + count/6 {
			s, l := e.operator(2)
			specs, list = append(specs, s[0]), append(list, l[0])
			x.fresh = append(x.fresh, freshOperator{l[0], l[1], s[1]})
		}
		first = append(first, e.add(users[0], x.spec, specs, list))
		e.indexes = append(e.indexes, x)
	}
	return e, first
}

func (e *errands) new(user, requestType string, body map[string]any) *errand {
	e.made++
	if requestType != "regenerate-bundle" && requestType != "recursive-related-bundles" {
		body["binary_image"] = e.base
	}
	return &errand{user: user, body: body, Request: ledger.Request{Key: fmt.Sprintf("errand-%04d", e.made), Type: requestType, Want: "complete"}}
}

func (e *errands) add(user, index string, specs []string, list []catalogtest.Bundle) *errand {
	n := e.new(user, "add", map[string]any{"bundles": specs, "from_index": index, "overwrite_from_index": true})
	n.Edit = &ledger.Edit{Tag: index, Leaves: names(list)}
	return n
}

// next makes up one errand of any kind.
func (e *errands) next() *errand {
	user := users[e.random.IntN(len(users))]
	x := e.indexes[e.random.IntN(len(e.indexes))]
	takeFresh := func() (f freshOperator, ok bool) {
		if len(x.fresh) == 0 {
			return f, false
		}
		f = x.fresh[0]
		x.fresh = x.fresh[1:]
		return f, true
	}
	switch n := e.random.IntN(100); {
	case n < 20: // remove an operator
		if f, ok := takeFresh(); ok {
			errand := e.new(user, "rm", map[string]any{"operators": []string{f.first.Package}, "from_index": x.spec, "overwrite_from_index": true})
			errand.Edit = &ledger.Edit{Tag: x.spec, Leaves: map[string][]string{f.first.Package: nil}}
			return errand
		}
	case n < 32: // add the next version of an operator
		if f, ok := takeFresh(); ok {
			return e.add(user, x.spec, []string{f.update}, []catalogtest.Bundle{f.first, f.second})
		}
	case n < 42: // add to an index that is not overwritten
		specs, list := e.operator(1)
		errand := e.new(user, "add", map[string]any{"bundles": specs, "from_index": e.static})
		errand.shows = names(list)
		maps.Copy(errand.shows, e.staticContents)
		return errand
	case n < 47:
		errand := e.new(user, "create-empty-index", map[string]any{"from_index": e.static, "output_fbc": true})
		errand.shows = map[string][]string{}
		return errand
	case n < 54:
		if x.kind != sqliteKind { // which a file-based index cannot be merged into
			errand := e.new(user, "merge-index-image", map[string]any{"source_from_index": e.source, "target_index": x.spec, "overwrite_target_index": true, "overwrite_target_index_token": "robot:token"})
			errand.Edit = &ledger.Edit{Tag: x.spec, Leaves: e.sourceContents}
			return errand
		}
	case n < 62:
		if x.kind != sqliteKind {
			return e.fragment(user, x.spec)
		}
	case n < 69:
		return e.new(user, "regenerate-bundle", map[string]any{"from_bundle_image": e.related})
	case n < 73:
		return e.new(user, "recursive-related-bundles", map[string]any{"parent_bundle_image": e.related})
	case n < 78: // what must fail
		errand := e.add(user, x.spec, []string{e.registry() + "/release/missing:v1"}, []catalogtest.Bundle{{Package: "missing", Name: "missing.v1"}})
		errand.Want = "failed"
		return errand
	}
	specs, list := e.operator(1 + e.random.IntN(2))
	return e.add(user, x.spec, specs, list)
}

func (e *errands) fragment(user, index string) *errand {
	bundle, list := e.operator(1)
	name := list[0].Package
	text := fmt.Sprintf(`{"schema":"olm.package","name":%[1]q,"defaultChannel":"stable"}
{"schema":"olm.channel","package":%[1]q,"name":"stable","entries":[{"name":%[2]q}]}
{"schema":"olm.bundle","package":%[1]q,"name":%[2]q,"image":%[3]q,"properties":[{"type":"olm.package","value":{"packageName":%[1]q,"version":"1.0.0"}}]}
`, name, list[0].Name, e.pinned(bundle[0]))
	spec := e.push("fragment-"+name+":v1", imagetest.Image{Files: map[string][]byte{"configs/" + name + "/catalog.json": []byte(text)}})
	errand := e.new(user, "fbc-operations", map[string]any{"from_index": index, "fbc_fragments": []string{spec}, "overwrite_from_index": true})
	errand.Edit = &ledger.Edit{Tag: index, Leaves: names(list)}
	return errand
}

// submitters do errands, as clients do that expect a service to be away at
// times: what was not answered is sent again, with the same key.
type submitters struct {
	urls   []string
	client *http.Client
	// began and ended hear of errands.
	began, ended func()
}

// run does errands, so many at a time, and returns when all have ended or
// ctx has.
func (s *submitters) run(ctx context.Context, list []*errand, atOnce int) {
	next := make(chan *errand)
	var wg sync.WaitGroup
	for n := range atOnce {
		random := rand.New(rand.NewPCG(uint64(n), 1))
		wg.Go(func() {
			for e := range next {
				s.submit(ctx, random, e)
				s.await(ctx, random, e)
				if s.ended != nil {
					s.ended()
				}
			}
		})
	}
	for _, e := range list {
		next <- e
	}
	close(next)
	wg.Wait()
}

// submit sends an errand until it is answered, and now and then once more.
func (s *submitters) submit(ctx context.Context, random *rand.Rand, e *errand) {
	body, err := json.Marshal(e.body)
	if err != nil {
		panic(err) // maps and text
	}
	for again := true; again; again = random.IntN(8) == 0 {
		s.until(ctx, func() bool {
			status, data := s.call(ctx, http.MethodPost, s.pick(random)+"/api/v1/builds/"+e.Type, e, body)
			var answer struct{ ID int64 }
			if status != http.StatusCreated || json.Unmarshal(data, &answer) != nil || answer.ID == 0 {
				if status/100 == 4 && status != http.StatusTooManyRequests {
					e.Reason = fmt.Sprintf("%d %s", status, data)
					return true
				}
				return false
			}
			if !slices.Contains(e.IDs, answer.ID) {
				e.IDs = append(e.IDs, answer.ID)
			}
			return true
		})
	}
}

func (s *submitters) await(ctx context.Context, random *rand.Rand, e *errand) {
	if len(e.IDs) == 0 {
		return
	}
	s.until(ctx, func() bool {
		status, data := s.call(ctx, http.MethodGet, fmt.Sprintf("%s/api/v1/builds/%d?wait=5", s.pick(random), e.IDs[0]), e, nil)
		var build map[string]any
		if status != http.StatusOK || json.Unmarshal(data, &build) != nil || build["state"] == "in_progress" {
			return false
		}
		e.build, e.Reason = build, fmt.Sprint(build["state_reason"])
		if resolved, _ := build["index_image_resolved"].(string); resolved != "" {
			_, e.Result, _ = strings.Cut(resolved, "@")
		}
		return true
	})
}

func (s *submitters) pick(random *rand.Rand) string { return s.urls[random.IntN(len(s.urls))] }

// until repeats what did not succeed until ctx ends.
func (s *submitters) until(ctx context.Context, do func() bool) {
	for !do() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *submitters) call(ctx context.Context, method, url string, e *errand, body []byte) (int, []byte) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Remote-User", e.user)
	if method == http.MethodPost {
		request.Header.Set("Idempotency-Key", e.Key)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil
	}
	return response.StatusCode, data
}
