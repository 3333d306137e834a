package main

import (
	"os"
	"strings"
)

// osRelease is what a host says of its distribution, as in os-release(5).
type osRelease struct{ ID, Version string }

// readOSRelease returns what there is; a host may have no such file.
func readOSRelease(path string) osRelease {
	var r osRelease
	data, err := os.ReadFile(path)
	if err != nil {
		return r
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			r.ID = value
		case "VERSION_ID":
			r.Version = value
		}
	}
	return r
}
