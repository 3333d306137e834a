package api

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestForwardedHeadersAreBelievedFromTrustedProxies(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, c := range map[string]struct {
		from    string
		headers map[string]string
		want    forwarded
	}{
		"a stranger is not believed": {"192.0.2.1:5", map[string]string{
			"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example.com", "X-Forwarded-For": "1.2.3.4", "X-Request-Id": "mine",
		}, forwarded{client: "192.0.2.1"}},
		"a proxy is": {"10.1.2.3:5", map[string]string{
			"X-Forwarded-Proto": "HTTPS", "X-Forwarded-Host": "iib.example.com:8443", "X-Forwarded-For": "192.0.2.7", "X-Request-Id": "abc-1",
		}, forwarded{scheme: "https", host: "iib.example.com:8443", client: "192.0.2.7", id: "abc-1"}},
		"the last entry counts": {"10.1.2.3:5", map[string]string{
			"X-Forwarded-Proto": "http, https", "X-Forwarded-Host": "evil.example.com, iib.example.com", "X-Forwarded-For": "6.6.6.6, 192.0.2.7, 10.9.9.9",
		}, forwarded{scheme: "https", host: "iib.example.com", client: "192.0.2.7"}},
		"Forwarded wins": {"[fd00::1]:5", map[string]string{
			"Forwarded": `for=6.6.6.6;proto=http, For="[2001:db8::7]:99"; Proto=https; Host="iib.example.com"`, "X-Forwarded-Host": "evil.example.com",
		}, forwarded{scheme: "https", host: "iib.example.com", client: "2001:db8::7"}},
		"nonsense is left out": {"10.1.2.3:5", map[string]string{
			"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "a/b?c", "X-Forwarded-For": "unknown", "X-Request-Id": "a b\n",
		}, forwarded{client: "10.1.2.3"}},
		"an IPv4 address in IPv6 form": {"[::ffff:10.1.2.3]:5", map[string]string{"X-Forwarded-Proto": "https"},
			forwarded{scheme: "https", client: "::ffff:10.1.2.3"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = c.from
			for name, value := range c.headers {
				r.Header.Set(name, value)
			}
			if got := readForwarded(r, proxies); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
