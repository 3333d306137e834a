// Package bucket keeps the logs and the artifacts of requests in a bucket that
// speaks S3.
package bucket

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls"
)

// Options say which bucket is used, and how.
type Options struct {
	Bucket, Region string
	// Endpoint is the address of the service, with its scheme: without TLS only
	// if that is http. Empty is AWS's for the region.
	Endpoint string
	// Prefix is what the names of all objects begin with, literally.
	Prefix string
	// Keys, both or none. Without them the environment (AWS_ACCESS_KEY_ID and
	// AWS_SECRET_ACCESS_KEY), AWS's file of credentials and the role of the
	// machine or container are asked, in this order.
	AccessKey, SecretKey sdk.Secret
	// CAFile has the PEM certificates of the authorities to trust. Empty means
	// the system's.
	CAFile string
	// MaxSize is how many bytes an artifact may have.
	MaxSize int64
	// Transport reaches the service; nil is one with time limits and the proxy
	// of the environment.
	Transport http.RoundTripper
}

// Files keeps per request an object for each artifact, and a sequence of
// objects for the log. It is safe for concurrent use, also by several processes.
type Files struct {
	client minio.Core
	// sender makes calls with a body, once. The library would rewind the body
	// while the connection that has failed may still read it.
	sender               minio.Core
	bucket, prefix       string
	accessKey, secretKey string
	maxSize              int64
	// maxLog is core.MaxLog, less in tests.
	maxLog core.LogRoom
}

var _ core.Files = (*Files)(nil)

const (
	// attempts is how often a call is made before it has failed.
	attempts = 3
	// callTime bounds a call that moves no artifact.
	callTime = 10 * time.Second
	// headerTime bounds how long an answer may take to begin.
	headerTime = 30 * time.Second
)

// Open uses a bucket. It asks nothing of it yet: while the bucket does not
// answer, Ping and whatever needs it are Unavailable.
func Open(o Options) (*Files, error) {
	host, secure, err := endpoint(o)
	if err != nil {
		return nil, err
	}
	transport := o.Transport
	if transport == nil {
		if transport, err = newTransport(o.CAFile); err != nil {
			return nil, err
		}
	}
	options := minio.Options{Creds: newCredentials(o), Secure: secure, Region: o.Region, Transport: transport}
	f := &Files{
		bucket: o.Bucket, prefix: o.Prefix, accessKey: o.AccessKey.Reveal(), secretKey: o.SecretKey.Reveal(),
		maxSize: o.MaxSize, maxLog: core.MaxLog,
	}
	for client, tries := range map[*minio.Core]int{&f.client: attempts, &f.sender: 1} {
		options.MaxRetries = tries
		opened, err := minio.NewCore(host, &options)
		if err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "bucket %s at %s: %v", o.Bucket, host, err)
		}
		*client = *opened
	}
	return f, nil
}

// endpoint returns the host of the service, and whether it speaks TLS.
func endpoint(o Options) (host string, secure bool, err error) {
	if o.Endpoint == "" {
		return "s3." + o.Region + ".amazonaws.com", true, nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" {
		return "", false, sdk.Errorf(sdk.Invalid, "the endpoint of bucket %s is no address of a service: write https:// or http:// and a host, and nothing after it", o.Bucket)
	}
	return u.Host, u.Scheme == "https", nil
}

func newCredentials(o Options) *credentials.Credentials {
	if o.AccessKey.Reveal() != "" {
		return credentials.NewStaticV4(o.AccessKey.Reveal(), o.SecretKey.Reveal(), "")
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{},
		&credentials.IAM{Client: &http.Client{Timeout: callTime}},
	})
}

// newTransport verifies the service's certificate, and gives up on a service
// that does not answer. It is not the images' guarded dialer: the address is the
// administrator's, and is often in a private network.
func newTransport(caFile string) (http.RoundTripper, error) {
	config, err := clienttls.Files{CA: caFile}.Config()
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: headerTime,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		// An object is what was stored, whatever its encoding is said to be.
		DisableCompression: true,
	}, nil
}

// Ping tells whether the bucket answers and may be read.
func (f *Files) Ping(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for object := range f.client.ListObjectsIter(ctx, f.bucket, minio.ListObjectsOptions{Prefix: f.requests(), Recursive: true, MaxKeys: 1}) {
		if object.Err != nil {
			return sdk.Errorf(sdk.Unavailable, "bucket %s: %s", f.bucket, f.text(object.Err))
		}
		break
	}
	if err := ctx.Err(); err != nil {
		return sdk.Errorf(sdk.Unavailable, "bucket %s: %v", f.bucket, err)
	}
	return nil
}

// The names of a request's objects. All of a request follow each other in a
// listing, because nothing else begins with its number and a slash.
func (f *Files) requests() string         { return f.prefix + "requests/" }
func (f *Files) of(request int64) string  { return fmt.Sprintf("%s%d/", f.requests(), request) }
func (f *Files) log(request int64) string { return f.of(request) + "log/" }
func (f *Files) artifact(request int64, name string) string {
	return f.of(request) + "artifact/" + name
}

// requestOf returns whose an object is; what somebody else has put there is
// nobody's.
func (f *Files) requestOf(key string) (int64, bool) {
	number, _, ok := strings.Cut(strings.TrimPrefix(key, f.requests()), "/")
	request, err := strconv.ParseInt(number, 10, 64)
	return request, ok && err == nil && strconv.FormatInt(request, 10) == number
}
