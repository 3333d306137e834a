package api

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// forwarded is what a trusted proxy says about the call that it passes on.
type forwarded struct {
	// scheme and host are those that the client used, empty if nobody says so.
	scheme, host string
	// client is the address that the call comes from.
	client string
	// id is the name that the proxy has given to the call.
	id string
}

// readForwarded reads the headers of a proxy that is trusted. Of a list the
// last entry counts: the proxy that is connected to us made it, and whatever
// stands before may be the client's own invention.
func readForwarded(r *http.Request, proxies []netip.Prefix) forwarded {
	f := forwarded{client: hostOf(r.RemoteAddr)}
	if !within(proxies, f.client) {
		return f
	}
	proto, host := lastOf(r.Header.Values("X-Forwarded-Proto")), lastOf(r.Header.Values("X-Forwarded-Host"))
	hops := splitList(r.Header.Values("X-Forwarded-For"))
	if elements := splitList(r.Header.Values("Forwarded")); len(elements) > 0 {
		proto, host, hops = "", "", nil
		for _, element := range elements {
			pairs := forwardedPairs(element)
			proto, host = pairs["proto"], pairs["host"]
			hops = append(hops, pairs["for"])
		}
	}
	if proto = strings.ToLower(proto); proto == "http" || proto == "https" {
		f.scheme = proto
	}
	if hostForm.MatchString(host) {
		f.host = host
	}
	if id := r.Header.Get(RequestIDHeader); requestIDForm.MatchString(id) {
		f.id = id
	}
	// The hop before the last trusted one is the client.
	for _, hop := range slices.Backward(hops) {
		address := hostOf(hop)
		if _, err := netip.ParseAddr(address); err != nil {
			break
		}
		f.client = address
		if !within(proxies, address) {
			break
		}
	}
	return f
}

var (
	hostForm      = regexp.MustCompile(`^(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)
	requestIDForm = regexp.MustCompile(`^[A-Za-z0-9_.=+/-]{1,128}$`)
)

// apply makes a request the one that the client sent to the proxy.
func (f forwarded) apply(r *http.Request) {
	if f.host != "" {
		r.Host = f.host
	}
	switch {
	case f.scheme == "https" && r.TLS == nil:
		r.TLS = new(tls.ConnectionState)
	case f.scheme == "http":
		r.TLS = nil
	}
}

// forwardedPairs takes an element of the Forwarded header (RFC 7239) apart.
func forwardedPairs(element string) map[string]string {
	pairs := make(map[string]string)
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		pairs[strings.ToLower(name)] = strings.Trim(value, `"`)
	}
	return pairs
}

func splitList(values []string) []string {
	var list []string
	for _, value := range values {
		for entry := range strings.SplitSeq(value, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				list = append(list, entry)
			}
		}
	}
	return list
}

func lastOf(values []string) string {
	list := splitList(values)
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

// hostOf cuts a port and brackets off an address.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.Trim(address, "[]")
}

func within(networks []netip.Prefix, address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(ip.Unmap()) })
}
