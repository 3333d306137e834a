package api

import (
	"embed"
	"io/fs"
	"net/http"
	"path"
)

// pageFiles are the documentation page: nothing that it shows comes from
// anywhere else.
//
//go:embed page
var pageFiles embed.FS

var pageTypes = map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

// page answers with one file of the documentation.
func page(name string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		data, err := fs.ReadFile(pageFiles, "page/"+name)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", pageTypes[path.Ext(name)])
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(data)
		return nil
	}
}
