package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestHello(t *testing.T) {
	h := sdktest.Service(t, &service{Greeting: "Good day"})
	for user, want := range map[string]string{
		"":                "Good day, stranger! You asked for /hello/.\n",
		"bot@EXAMPLE.COM": "Good day, bot@EXAMPLE.COM! You asked for /hello/.\n",
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/hello/", nil)
		h.ServeHTTP(w, r.WithContext(sdktest.WithUser(t.Context(), user)))
		if got := w.Body.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
