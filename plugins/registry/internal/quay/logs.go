package quay

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// logsPage is how many entries one answer has.
const logsPage = 20

// logs is GET logs: what was done in the repository, the latest first.
func (c *call) logs() error {
	query := c.r.URL.Query()
	start, err := day(query, "starttime", time.UnixMilli(0))
	if err != nil {
		return err
	}
	end, err := day(query, "endtime", c.now())
	if err != nil {
		return err
	}
	// The last day is part of what is asked for.
	end = end.AddDate(0, 0, 1)
	var before int64
	if token := query.Get("next_page"); token != "" {
		if before, err = strconv.ParseInt(token, 10, 64); err != nil || before <= 0 {
			return invalid("next_page: want what an earlier answer gave")
		}
	}
	entries, err := c.Store.Audit(c.r.Context(), c.repository, start, end, before, logsPage+1)
	if err != nil {
		return err
	}
	body := map[string]any{"start_time": dateText(start.UnixMilli()), "end_time": dateText(end.UnixMilli())}
	if len(entries) > logsPage {
		entries = entries[:logsPage]
		body["next_page"] = strconv.FormatInt(entries[logsPage-1].ID, 10)
	}
	logs := make([]map[string]any, 0, len(entries))
	for _, e := range entries {
		entry := map[string]any{
			"kind": e.Kind, "metadata": e.Metadata, "ip": e.Address, "datetime": dateText(e.Time.UnixMilli()),
		}
		if e.User != "" {
			entry["performer"] = map[string]any{"kind": "user", "name": e.User, "is_robot": strings.Contains(e.User, "+")}
		}
		logs = append(logs, entry)
	}
	body["logs"] = logs
	c.answer(http.StatusOK, body)
	return nil
}

// day reads a date such as 12/31/2026.
func day(query url.Values, name string, otherwise time.Time) (time.Time, error) {
	if query.Get(name) == "" {
		return otherwise, nil
	}
	at, err := time.Parse("01/02/2006", query.Get(name))
	if err != nil {
		return time.Time{}, invalid(name + ": want a date as MM/DD/YYYY")
	}
	return at, nil
}
