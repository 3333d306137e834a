package servecache

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/catalog/tree"
)

var large = flag.Bool("large", false, "let opm check the large catalog's cache too, sound and tampered with")

func TestCheckFindsATamperedDigest(t *testing.T) {
	for _, format := range formats {
		f := newFixture(t)
		c := f.build(t, f.load(t, catalogtest.Spec{Packages: 1, Bundles: 1}.FS()), format)
		for name, check := range map[string]func(context.Context, string) error{"check": c.Check, "verify": c.Verify} {
			c.digest.value = ""
			if err := check(t.Context(), t.TempDir()); err != nil {
				t.Errorf("%s, %s: %v", format, name, err)
			}
			c.digest.value = "bad"
			if err := check(t.Context(), t.TempDir()); err == nil {
				t.Errorf("%s, %s: a wrong digest passes", format, name)
			}
		}
	}
}

// Verify finds each kind of mistake that its steps are there for.
func TestVerifyFinds(t *testing.T) {
	for name, tc := range map[string]struct {
		harm func(*Cache)
		step func(*Cache, context.Context, string) error
		says string
	}{
		"metas that are not opm's": {func(c *Cache) {
			// As if two packages had been mixed up.
			other := *c.states[1]
			other.pkg = c.states[0].pkg
			c.states[0] = &other
			c.digest.value = ""
		}, func(c *Cache, ctx context.Context, _ string) error { return c.verifyMetas(ctx) }, "opm reads other text"},
		"a record that is not there": {func(c *Cache) {
			s := *c.states[0]
			s.Bundles = slices.Clone(s.Bundles)
			s.Bundles[0].Key = s.Bundles[0].Key[:len(s.Bundles[0].Key)-1] + "?"
			c.states[0] = &s
		}, (*Cache).verifyDatabase, "does not find record"},
		"a value that is another": {func(c *Cache) { c.packages[10] ^= 1 }, (*Cache).verifyDatabase, "its content gives"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			c := f.build(t, f.load(t, catalogtest.Spec{Packages: 3, Bundles: 2, Text: 300}.FS()), Pogreb)
			if _, err := c.Digest(t.Context()); err != nil {
				t.Fatal(err)
			}
			tc.harm(c)
			if err := c.Verify(t.Context(), t.TempDir()); sdk.CodeOf(err) != sdk.Internal {
				t.Errorf("error %v, want Internal", err)
			}
			err := tc.step(c, t.Context(), t.TempDir())
			if sdk.CodeOf(err) != sdk.Internal || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want Internal and %q", err, tc.says)
			}
		})
	}
}

// tamperings make something of a cache wrong, or nothing. Other is a catalog
// of the same shape with one package changed.
var tamperings = map[string]func(r *rand.Rand, c *Cache, other *tree.Tree){
	"nothing": func(*rand.Rand, *Cache, *tree.Tree) {},
	"the digest": func(r *rand.Rand, c *Cache, _ *tree.Tree) {
		digest := []byte(c.digest.value)
		digest[r.IntN(len(digest))] ^= 1
		c.digest.value = string(digest)
	},
	"the summary of the packages": func(r *rand.Rand, c *Cache, _ *tree.Tree) {
		c.packages[r.IntN(len(c.packages))] ^= 1
	},
	"the summary, and the digest with it": func(r *rand.Rand, c *Cache, _ *tree.Tree) {
		c.packages[r.IntN(len(c.packages))] ^= 1
		c.digest.value = ""
	},
	"the catalog": func(_ *rand.Rand, c *Cache, other *tree.Tree) { c.tree = other },
	"the catalog, and the digest with it": func(_ *rand.Rand, c *Cache, other *tree.Tree) {
		c.tree, c.digest.value = other, ""
	},
	"a package in the place of another": func(r *rand.Rand, c *Cache, _ *tree.Tree) {
		i := r.IntN(len(c.states))
		other := *c.states[(i+1)%len(c.states)]
		other.pkg = c.states[i].pkg
		c.states[i] = &other
	},
	"the key of a record": func(r *rand.Rand, c *Cache, _ *tree.Tree) {
		i := r.IntN(len(c.states))
		s := *c.states[i]
		s.Bundles = slices.Clone(s.Bundles)
		s.Bundles[r.IntN(len(s.Bundles))].Key += "?"
		c.states[i] = &s
	},
}

// accepted are the tamperings that opm cannot notice: its digest is over what
// it finds, whatever that says. In the stricter ones Verify looks closer.
var (
	accepted = map[string]bool{"nothing": true, "the summary, and the digest with it": true}
	stricter = map[string]bool{"the key of a record": true}
)

// What Verify accepts, opm's own check accepts, and what opm refuses, Verify
// refuses: of sound caches and of ones that were tampered with.
func TestVerifyAgreesWithOpm(t *testing.T) {
	catalogs := []catalogtest.Spec{{Packages: 2, Bundles: 1}, {Packages: 5, Bundles: 3, Text: 400}}
	if *large {
		catalogs = append(catalogs, catalogtest.Large)
	}
	for seed, spec := range catalogs {
		f := newFixture(t)
		catalog := f.load(t, spec.OnDisk(t))
		// Its first package has the second's text, under its own name.
		text := strings.ReplaceAll(string(spec.Package(1, spec.Bundles)), spec.Name(1), spec.Name(0))
		other, err := catalog.WithPackage(t.Context(), spec.Name(0), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for name, tamper := range tamperings {
			t.Run(fmt.Sprintf("%d packages, %s", spec.Packages, name), func(t *testing.T) {
				c := f.build(t, catalog, Pogreb)
				if _, err := c.Digest(t.Context()); err != nil {
					t.Fatal(err)
				}
				tamper(rand.New(rand.NewPCG(1, uint64(seed))), c, other)
				ours := c.Verify(t.Context(), t.TempDir())
				theirs := c.Check(t.Context(), t.TempDir())
				if sound := accepted[name]; (ours == nil) != sound || theirs != nil && sound || theirs == nil && !sound && !stricter[name] {
					t.Errorf("we say: %v; opm says: %v", ours, theirs)
				}
			})
		}
	}
}
