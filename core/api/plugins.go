package api

import "net/http"

// plugins is GET /plugins: the roster, for those on call.
func (s *server) plugins(w http.ResponseWriter, _ *http.Request) error {
	type status struct {
		Name      string  `json:"name"`
		Kind      string  `json:"kind"`
		Version   string  `json:"version"`
		Checksum  string  `json:"checksum"`
		State     string  `json:"state"`
		Restarts  int     `json:"restarts"`
		LastError *string `json:"last_error"`
	}
	items := []status{}
	for _, p := range s.Roster.Status() {
		item := status{Name: p.Name, Kind: p.Kind, Version: p.Version, Checksum: p.SHA256, State: p.State, Restarts: p.Restarts}
		if p.LastError != nil {
			text := p.LastError.Error()
			item.LastError = &text
		}
		items = append(items, item)
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items})
	return nil
}
