package config

import (
	"encoding/base64"
	"encoding/hex"
	"testing"
	"time"
)

func TestDurationsMayHaveDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "2h30m": 150 * time.Minute, "3d": 72 * time.Hour, "1d12h": 36 * time.Hour, "0s": 0, "0": 0, "1.5h": 90 * time.Minute,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1s", "1d-1h", "-1d", "3 days", "1dd", "1h1d", "99999999d", "5", "1.5d", "65535d9223372036854775807ns"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is accepted as %v", text, got)
		}
	}
}

func TestSizesMayHaveUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "10": 10, "10B": 10, "1kB": 1000, "1KiB": 1024, "10MiB": 10 << 20, "2 gib": 2 << 30, "1TB": 1e12,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "10 apples", "9223372036854775808", "9223372036854775807KiB", "1 0"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is accepted as %v", text, got)
		}
	}
}

func TestFormsAcceptAndRefuse(t *testing.T) {
	for _, test := range []struct {
		form      *form
		good, bad []string
	}{
		{addressForm, []string{":8080", "127.0.0.1:0", "[::1]:80", "localhost:65535"}, []string{"", "8080", "127.0.0.1", "h:65536", "h:http", "http://h:80", "::1:80", "h:-1"}},
		{listenerForm, []string{"unix:/run/a.sock", ":1"}, []string{"unix:", "unix:a.sock", "unix:/run/", "tcp:h:1"}},
		{networkForm, []string{"10.0.0.0/8", "::/0", "192.0.2.7/32", "fe80::/10"}, []string{"10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "host", "fe80::%eth0/64"}},
		{webForm, []string{"http://h", "https://h:1/p/"}, []string{"h", "ftp://h", "https://", "https://u@h", "https://h?q", "https://h#f", "https://h:x", "https:///p"}},
		{databaseForm, []string{"sqlite:a.db", "sqlite:/a/b.db", "sqlite:///a/b.db", "postgres://h/d", "postgresql://u:p@h:1/d?sslmode=disable"},
			[]string{"", "sqlite:", "sqlite://a.db", "sqlite:a?b", "a.db", "postgres://h", "postgres://h/", "mysql://h/d", "postgres://h:x/d"}},
		{redisForm, []string{"redis://h", "rediss://u:p@h:6379/1", "redis-sentinel://a:1,b:2?master=m", "redis-cluster://a:1,b:2", "redis-socket:///run/r.sock"},
			[]string{"", "h:6379", "redis://", "redis-sentinel://a:1", "redis-socket://", "http://h"}},
		{mountForm, []string{"/a/", "/v2/", "/api/v1/repository/", "/api/v1/buildsomething/"},
			[]string{"", "/", "/a", "a/", "//", "/a//b/", "/a/../b/", "/./", "/a b/", "/%61/", "/{a}/", "/api/", "/api/v1/", "/api/v1/builds/", "/api/v1/builds/x/", "/metrics/", "/a?/"}},
		{hostForm, []string{"h", "a.b-c:5000", "[::1]:5000", "10.0.0.1"}, []string{"", "h/x", "h:", "h:70000", "-h", "h_h", "https://h", "::1"}},
		{registryForm, []string{"quay.io", "quay.io/ns", "h:1/a/b-c"}, []string{"quay.io/", "quay.io/A", "https://quay.io", "quay.io/a:tag", "/ns"}},
		{pushForm, []string{"{registry}/iib-build:{request_id}", "quay.io/a/b:r{request_id}", "{registry}/a{request_id}:latest"},
			[]string{"", "{registry}/iib-build", "{registry}/iib-build:1", "{registry}/x:{id}", "{request_id}", "{registry}/X:{request_id}", "{registry}/x:{request_id}/y", "{registry}:{request_id}"}},
		{nameForm, []string{"a", "index-add", "A_1"}, []string{"", "-a", "a b", "a/b", "ä", ".."}},
		{headerForm, []string{"X-Remote-User", "remote_user"}, []string{"", "a b", "a:", "Authorization", "COOKIE", "X-Iib-User"}},
		{variableForm, []string{"A", "_a1"}, []string{"", "1A", "A=1", "A B"}},
		{checksumForm, []string{"sha256:" + hex.EncodeToString(make([]byte, 32))}, []string{"", "sha256:", "sha256:00", "md5:00", "sha256:" + hex.EncodeToString(make([]byte, 33))}},
		{modeForm, []string{"0600", "0777"}, []string{"600", "0800", "07777", "rw"}},
		{pullSpecForm, []string{"quay.io/a/b:c", "quay.io/a@sha256:00", "a"}, []string{"", "a b", "/a", "a//b", "a/"}},
		{requestForm, []string{"add", "regenerate-bundle"}, []string{"", "Add", "a b", "-a", "a--b"}},
		{userForm, []string{"jane@EXAMPLE.COM", "Jane Doe"}, []string{"", " jane", "a\nb"}},
	} {
		for _, text := range test.good {
			if err := test.form.check(text); err != nil {
				t.Errorf("%q is refused as %s: %v", text, test.form.is, err)
			}
		}
		for _, text := range test.bad {
			if test.form.check(text) == nil {
				t.Errorf("%q is accepted as %s", text, test.form.is)
			}
		}
	}
}

func TestKeysAreReadInEveryUsualWriting(t *testing.T) {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(0xf0 + i) // gives + and / in base64
	}
	for _, text := range []string{
		hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), base64.RawStdEncoding.EncodeToString(key),
		base64.URLEncoding.EncodeToString(key), " " + base64.StdEncoding.EncodeToString(key) + "\n",
	} {
		if got, err := ParseKey(text); err != nil || string(got) != string(key) {
			t.Errorf("%q is read as %x, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "00", "password", base64.StdEncoding.EncodeToString(key[:31]), hex.EncodeToString(key) + "00"} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
