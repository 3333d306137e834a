package coretest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
)

func testLists(t *testing.T, open func(t *testing.T) core.Store) {
	t.Run("every combination of filters finds what matches, and counts it", func(t *testing.T) {
		s := start(t, open)
		all := populate(s, 80)
		for i := range 1 << 8 {
			f := filter(uint(i))
			t.Run(fmt.Sprintf("%+v", f), func(t *testing.T) {
				var want []int64
				for j := len(all) - 1; j >= 0; j-- {
					if matches(all[j], f) {
						want = append(want, all[j].ID)
					}
				}
				got, total, err := s.List(t.Context(), f, core.Page{Size: 1000})
				if err != nil || total != int64(len(want)) {
					t.Errorf("total %d, error %v; want %d", total, err, len(want))
				}
				wantSame(t, "IDs", ids(got), want)
			})
		}
	})

	t.Run("pages and keysets cover the list", func(t *testing.T) {
		s := start(t, open)
		all := populate(s, 50)
		for _, f := range []core.Filter{{}, {Type: "add"}, {Batch: 2, HasBatch: true}, {User: "alice", FromIndexPrefix: "registry.test/"}} {
			for _, size := range []int{1, 7, 50, 51} {
				testPaging(t, s, all, f, size)
			}
		}
	})

	t.Run("a page past the end is empty and still counts", func(t *testing.T) {
		s := start(t, open)
		s.one()
		for _, number := range []int{2, 3, 1 << 40, 1<<63 - 1} {
			got, total, err := s.List(t.Context(), core.Filter{}, core.Page{Number: number, Size: 20})
			if len(got) != 0 || total != 1 || err != nil {
				t.Errorf("page %d: %d of %d, error %v", number, len(got), total, err)
			}
		}
	})

	t.Run("a page that says nothing is the first, of twenty", func(t *testing.T) {
		s := start(t, open)
		populate(s, 30)
		got, total, err := s.List(t.Context(), core.Filter{}, core.Page{})
		if len(got) != 20 || total != 30 || err != nil || got[0].ID != 30 {
			t.Errorf("%d of %d, error %v", len(got), total, err)
		}
	})

	t.Run("entries are whole requests, with history on demand", func(t *testing.T) {
		s := start(t, open)
		r := s.one()
		s.patch(r.ID, &core.Change{State: core.InProgress, Reason: "next", Arches: []string{"amd64"}})
		want := s.request(r.ID)
		got, _, err := s.List(t.Context(), core.Filter{}, core.Page{History: true})
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "with history", got, []*core.Request{want})
		got, _, err = s.List(t.Context(), core.Filter{}, core.Page{})
		if err != nil {
			t.Fatal(err)
		}
		// It may come with all of the history, or with the newest entry alone.
		wantSame(t, "the newest entry", got[0].State(), want.State())
		got[0].History = want.History
		wantSame(t, "without history", got, []*core.Request{want})
	})

	t.Run("a list shows every change that was made before it", func(t *testing.T) {
		s := start(t, open)
		count := func(f core.Filter) int64 {
			t.Helper()
			_, total, err := s.List(t.Context(), f, core.Page{})
			if err != nil {
				t.Fatal(err)
			}
			return total
		}
		for i := range int64(5) {
			r := s.one()
			if count(core.Filter{}) != i+1 || count(core.Filter{State: core.InProgress}) != 1 {
				t.Errorf("request %d is not listed", r.ID)
			}
			s.patch(r.ID, &core.Change{State: core.Complete, Reason: "Done."})
			if count(core.Filter{State: core.Complete}) != i+1 || count(core.Filter{State: core.InProgress}) != 0 {
				t.Errorf("the end of request %d is not listed", r.ID)
			}
		}
	})

	t.Run("an image is seen as it was mentioned", func(t *testing.T) {
		s := start(t, open)
		n := plain()
		n.Images = []string{"registry.test/ns/index:v4.10", "registry.test/ns/b_ndle:1", "zz", "\U0010FFFFx"}
		s.submit(&core.NewBatch{Requests: []core.NewRequest{n}})
		for _, c := range []struct {
			image  string
			prefix bool
			want   bool
		}{
			{"registry.test/ns/index:v4.10", false, true},
			{"registry.test/ns/index:v4.1", false, false},
			{"registry.test/ns/index:v4.1", true, true},
			{"registry.test/ns/index:v4.10", true, true},
			{"registry.test/ns/index:v4.100", true, false},
			{"Registry.test/", true, false},
			{"registry.test/ns/b%", true, false},
			{"registry.test/ns/b_n", true, true},
			{"registry.test/ns/bund", true, false},
			{"zz", true, true},
			{"zzz", true, false},
			{"\U0010FFFF", true, true},
			{"", true, true},
			{"", false, false},
		} {
			got, err := s.ImageSeen(t.Context(), c.image, c.prefix)
			if got != c.want || err != nil {
				t.Errorf("ImageSeen(%q, %v) = %v, %v", c.image, c.prefix, got, err)
			}
		}
	})
}

// testPaging reads a list in pages, and by keyset, and compares both with what
// matches.
func testPaging(t *testing.T, s *subject, all []*core.Request, f core.Filter, size int) {
	t.Helper()
	var want, pages, keyset []int64
	for i := len(all) - 1; i >= 0; i-- {
		if matches(all[i], f) {
			want = append(want, all[i].ID)
		}
	}
	read := func(p core.Page) []int64 {
		p.Size = size
		got, total, err := s.List(t.Context(), f, p)
		if err != nil || total != int64(len(want)) {
			t.Fatalf("List(%+v, %+v): total %d, error %v; want %d", f, p, total, err, len(want))
		}
		return ids(got)
	}
	for number := 1; ; number++ {
		page := read(core.Page{Number: number})
		if len(page) == 0 {
			break
		}
		pages = append(pages, page...)
	}
	for before := int64(1 << 62); ; before = keyset[len(keyset)-1] {
		page := read(core.Page{Before: before})
		if len(page) == 0 {
			break
		}
		keyset = append(keyset, page...)
	}
	if diff := cmp.Diff(want, pages); diff != "" {
		t.Errorf("pages of %d for %+v (-want +got):\n%s", size, f, diff)
	}
	if diff := cmp.Diff(want, keyset); diff != "" {
		t.Errorf("keysets of %d for %+v (-want +got):\n%s", size, f, diff)
	}
}

// populate stores n requests of all sorts, the same ones each time.
func populate(s *subject, n int) []*core.Request {
	s.t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(values ...string) string { return values[random.IntN(len(values))] }
	var all []*core.Request
	for len(all) < n {
		batch := &core.NewBatch{User: pick("", "alice", "Alice", "bob")}
		for range min(1+random.IntN(4), n-len(all)) {
			fields := map[string]json.RawMessage{}
			for name, value := range map[string]string{
				"from_index":  pick("", "registry.test/ns/a:1", "registry.test/ns/a:12", "registry.test/NS/a:1", "other.test/x_%y"),
				"index_image": pick("", "", "registry.test/ns/a:1", "registry.test/iib:"+strconv.Itoa(len(all))),
			} {
				if value != "" {
					fields[name], _ = json.Marshal(value)
				}
			}
			batch.Requests = append(batch.Requests, core.NewRequest{Type: pick("add", "rm", "merge-index-image"), Queue: "default", Fields: fields})
		}
		all = append(all, s.submit(batch)...)
	}
	for i, r := range all {
		switch random.IntN(4) {
		case 0:
			all[i] = s.patch(r.ID, &core.Change{State: core.Complete, Reason: "Done."})
		case 1:
			all[i] = s.patch(r.ID, &core.Change{State: core.Failed, Reason: "No."})
		case 2:
			all[i] = s.patch(r.ID, &core.Change{Fields: map[string]json.RawMessage{"index_image": json.RawMessage(`"registry.test/late:1"`)}})
		}
	}
	return all
}

// filter returns the combination of filters that bits choose.
func filter(bits uint) core.Filter {
	var f core.Filter
	for i, set := range []func(){
		func() { f.State = core.Complete },
		func() { f.HasBatch, f.Batch = true, 3 },
		func() { f.Type = "add" },
		func() { f.User = "alice" },
		func() { f.IndexImage = "registry.test/late:1" },
		func() { f.FromIndex = "registry.test/ns/a:1" },
		func() { f.FromIndexPrefix = "registry.test/ns/a" },
		func() { f.FromIndexPrefix = "other.test/x_%" },
		func() { f.Types = []string{"add", "rm", "never"} },
	} {
		if bits&(1<<i) != 0 {
			set()
		}
	}
	return f
}

// matches says the same as the filters' documentation, as plainly as possible.
func matches(r *core.Request, f core.Filter) bool {
	return (f.State == "" || r.State().State == f.State) &&
		(!f.HasBatch || r.Batch == f.Batch) &&
		(f.Type == "" || r.Type == f.Type) &&
		(f.Type != "" || len(f.Types) == 0 || slices.Contains(f.Types, r.Type)) &&
		(f.User == "" || r.User == f.User) &&
		(f.IndexImage == "" || core.FieldText(r.Fields, "index_image") == f.IndexImage) &&
		(f.FromIndex == "" || core.FieldText(r.Fields, "from_index") == f.FromIndex) &&
		strings.HasPrefix(core.FieldText(r.Fields, "from_index"), f.FromIndexPrefix)
}

func ids(requests []*core.Request) []int64 {
	var all []int64
	for _, r := range requests {
		all = append(all, r.ID)
	}
	return all
}
