package bucket_test

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/bucket"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
)

func options(s *coretest.S3) bucket.Options {
	return bucket.Options{
		Bucket: s.Bucket, Region: "eu-central-1", Endpoint: s.Endpoint, Prefix: "prod/",
		AccessKey: sdk.Secret(s.AccessKey), SecretKey: sdk.Secret(s.SecretKey), MaxSize: 256 << 20,
	}
}

func openWith(t *testing.T, o bucket.Options) *bucket.Files {
	t.Helper()
	files, err := bucket.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func open(t *testing.T, s *coretest.S3) *bucket.Files {
	t.Helper()
	return openWith(t, options(s))
}

func TestFiles(t *testing.T) {
	coretest.CheckFiles(t, func(t *testing.T) (a, b core.Files) {
		s := coretest.StartS3(t)
		return open(t, s), open(t, s)
	})
}

func TestPing(t *testing.T) {
	s := coretest.StartS3(t)
	t.Run("a bucket that answers is fine", func(t *testing.T) {
		if err := open(t, s).Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
	tls := httptest.NewUnstartedServer(s)
	tls.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	tls.StartTLS()
	t.Cleanup(tls.Close)
	for name, c := range map[string]struct {
		change func(*bucket.Options)
		want   string
	}{
		"a bucket that is not there": {func(o *bucket.Options) { o.Bucket = "another" }, "NoSuchBucket"},
		"a key that is unknown":      {func(o *bucket.Options) { o.AccessKey = "AKIACANARYOTHER" }, "InvalidAccessKeyId"},
		"a service that is away":     {func(o *bucket.Options) { o.Endpoint = "http://127.0.0.1:1" }, "connection refused"},
		"a certificate of nobody":    {func(o *bucket.Options) { o.Endpoint = tls.URL }, "certificate"},
	} {
		t.Run(name+" is said so", func(t *testing.T) {
			o := options(s)
			c.change(&o)
			err := openWith(t, o).Ping(t.Context())
			if sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("a certificate of an authority of its own is fine", func(t *testing.T) {
		o := options(s)
		o.Endpoint, o.CAFile = tls.URL, filepath.Join(t.TempDir(), "ca.pem")
		pem := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw})
		if err := os.WriteFile(o.CAFile, pem, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := openWith(t, o).Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("time that is over is said so", func(t *testing.T) {
		s.Break(func(*http.Request) coretest.S3Fault { return coretest.S3Hang })
		defer s.Break(nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := open(t, s).Ping(ctx); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("%v", err)
		}
	})
}

func TestNoErrorHasAKey(t *testing.T) {
	s := coretest.StartS3(t)
	files := open(t, s)
	s.Break(func(*http.Request) coretest.S3Fault { return coretest.S3Refused })
	_, opened := files.Open(t.Context(), 1, "x")
	_, read := files.Logs().Open(t.Context(), 1)
	errs := map[string]error{
		"Ping": files.Ping(t.Context()), "Put": files.Put(t.Context(), 1, "x", strings.NewReader("x")), "Open": opened, "Open of a log": read,
		"Remove": files.Remove(t.Context(), 1), "Each": files.Each(t.Context(), func(core.Footprint) error { return nil }),
	}
	for doing, err := range errs {
		if sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "There is no access key [key]") {
			t.Errorf("%s: %v", doing, err)
		}
		if strings.Contains(err.Error(), s.AccessKey) || strings.Contains(err.Error(), s.SecretKey) {
			t.Errorf("%s tells a key: %v", doing, err)
		}
	}
}

func TestKeysOfTheEnvironment(t *testing.T) {
	s := coretest.StartS3(t)
	t.Setenv("AWS_ACCESS_KEY_ID", s.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.SecretKey)
	o := options(s)
	o.AccessKey, o.SecretKey = "", ""
	if err := openWith(t, o).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, fine := range map[string]bool{
		"": true, "https://s3.example.com": true, "https://s3.example.com/": true, "http://127.0.0.1:9000": true,
		"s3.example.com": false, "ftp://s3.example.com": false, "https://s3.example.com/bucket": false,
		"https://user:canary@s3.example.com": false, "https://": false,
	} {
		_, err := bucket.Open(bucket.Options{Bucket: "b", Region: "eu-central-1", Endpoint: endpoint})
		if (err == nil) != fine || err != nil && (sdk.CodeOf(err) != sdk.Invalid || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}
