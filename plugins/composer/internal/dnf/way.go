package dnf

import (
	"errors"
	"net/url"

	"github.com/iib-engine/iib/plugins/composer/internal/gateway"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/denied"
)

// way is how the helper gets out during one call: each source has a pass of its
// own.
type way struct {
	*gateway.Gateway
	sources []solve.Source
	passes  []*gateway.Pass
}

// open makes the way for sources that check has passed.
func open(rule denied.Rule, sources []solve.Source) (*way, error) {
	g, err := gateway.Open(rule)
	if err != nil {
		return nil, err
	}
	w := &way{Gateway: g, sources: sources}
	for _, s := range sources {
		route, err := route(s)
		if err != nil {
			g.Close()
			return nil, err
		}
		w.passes = append(w.passes, g.Admit(route))
	}
	return w, nil
}

// route is where a source leads.
func route(s solve.Source) (gateway.Route, error) {
	var route gateway.Route
	named := append([]string{s.URL}, s.GPGKeyURLs...)
	if s.Proxy != "" {
		u, err := url.Parse(s.Proxy)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return route, sdk.FieldErrorf("proxy", "source %s: the proxy is not an address of http or https", s.ID)
		}
		route.Proxy = u
		named = append(named, s.Proxy)
	}
	if !s.System {
		return route, nil
	}
	for _, address := range named {
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			route.Trusted = append(route.Trusted, denied.Place(u))
		}
	}
	return route, nil
}

// shown are the passes as the helper reads them.
func (w *way) shown() []pass {
	passes := make([]pass, len(w.passes))
	for i, p := range w.passes {
		passes[i] = pass{p.User, p.Password}
	}
	return passes
}

// explain adds to an error of the helper why a source could not be reached: all
// that dnf sees is a proxy that does not go on.
func (w *way) explain(err error) error {
	var refused *refusal
	if !errors.As(err, &refused) {
		return err
	}
	if refused.err.Code != sdk.Unavailable {
		return refused.err
	}
	explained := refused.err
	for i, p := range w.passes {
		source, fault := w.sources[i].ID, p.Fault()
		switch {
		case fault == nil, refused.source != "" && refused.source != source:
		case fault.Code == sdk.Denied:
			return sdk.Errorf(sdk.Denied, "source %s: %s", source, fault.Message)
		case explained == refused.err:
			explained = sdk.Errorf(sdk.Unavailable, "%s (%s)", refused.err.Message, fault.Message)
		}
	}
	return explained
}
