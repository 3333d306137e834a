package customize

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"
)

// table is one of the files with a line of fields for each account.
type table struct {
	file  string
	width int
	rows  [][]string
	there bool
	// raw are lines that are no rows, by the number of rows before them.
	raw map[int][]string
}

// readTable reads a file; one that is not there is empty.
func (a *Applier) readTable(file string, width int) (*table, error) {
	t := &table{file: file, width: width, raw: make(map[int][]string)}
	content, err := a.Root.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	t.there = true
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, "\r\n")
		if fields := strings.Split(line, ":"); len(fields) == width && fields[0] != "" && !strings.HasPrefix(line, "#") {
			t.rows = append(t.rows, fields)
		} else if line != "" {
			t.raw[len(t.rows)] = append(t.raw[len(t.rows)], line)
		}
	}
	return t, nil
}

func (t *table) find(name string) []string {
	for _, row := range t.rows {
		if row[0] == name {
			return row
		}
	}
	return nil
}

// byNumber finds the row whose third field is a number.
func (t *table) byNumber(n int64) []string {
	for _, row := range t.rows {
		if row[2] == strconv.FormatInt(n, 10) {
			return row
		}
	}
	return nil
}

func (t *table) add(fields ...string) []string {
	t.rows = append(t.rows, fields)
	return fields
}

func (t *table) String() string {
	var b strings.Builder
	for i := 0; i <= len(t.rows); i++ {
		for _, line := range t.raw[i] {
			b.WriteString(line + "\n")
		}
		if i < len(t.rows) {
			b.WriteString(strings.Join(t.rows[i], ":") + "\n")
		}
	}
	return b.String()
}
