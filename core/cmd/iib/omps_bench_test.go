package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk/sdktest/loopback"
)

// manyPackages pushes packages, in namespaces n0 to n9, two releases each.
func manyPackages(t testing.TB, p *pusher, n int) {
	t.Helper()
	blob := base64.StdEncoding.EncodeToString(gzipped(t, "x"))
	next := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range next {
				for _, release := range []string{"1.0.0", "2.0.0"} {
					body := fmt.Appendf(nil, `{"blob": %q, "release": %q, "media_type": "helm"}`, blob, release)
					if status, data := p.do(http.MethodPost, fmt.Sprintf("/cnr/api/v1/packages/n%d/p%04d", i%10, i), "application/json", body); status != http.StatusOK {
						t.Errorf("%d %s", status, data)
					}
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func (p *pusher) packages(query string) int {
	p.t.Helper()
	status, data := p.do(http.MethodGet, "/cnr/api/v1/packages"+query, "", nil)
	var list []struct{ Releases []string }
	if err := json.Unmarshal(data, &list); err != nil || status != http.StatusOK {
		p.t.Fatalf("%d %.300s", status, data)
	}
	for _, one := range list {
		if len(one.Releases) != 2 {
			p.t.Errorf("%v", one)
		}
	}
	return len(list)
}

// BenchmarkListingOfPackages lists 1,000 packages of the embedded application
// registry, and one namespace of ten of them.
func BenchmarkListingOfPackages(b *testing.B) {
	const packages = 1000
	own := loopback.Address(b)
	p := startServer(b, fmt.Sprintf("plugin \"omps\" {\n  kind = \"service\"\n  mount = \"/omps/\"\n  pass_authorization = true\n  listener %q {}\n}\n", own))
	shop := &pusher{t: b, base: "http://" + own, client: http.DefaultClient, auth: basicAuth("user", "password")}
	started := time.Now()
	manyPackages(b, shop, packages)
	b.Logf("%d packages were pushed to %s in %s", packages, p.url, time.Since(started))
	for _, c := range []struct {
		name, query string
		want        int
	}{{"all", "", packages}, {"a namespace", "?namespace=n3", packages / 10}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if got := shop.packages(c.query); got != c.want {
					b.Fatalf("there are %d packages, want %d", got, c.want)
				}
			}
		})
	}
}
