package bucket_test

import (
	"testing"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/bucket"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
)

func open(t *testing.T, s *coretest.S3) *bucket.Files {
	t.Helper()
	files, err := bucket.Open(bucket.Options{
		Bucket: s.Bucket, Region: "eu-central-1", Endpoint: s.Endpoint, Prefix: "prod/",
		AccessKey: sdk.Secret(s.AccessKey), SecretKey: sdk.Secret(s.SecretKey), MaxSize: 256 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFiles(t *testing.T) {
	coretest.CheckFiles(t, func(t *testing.T) (a, b core.Files) {
		s := coretest.StartS3(t)
		return open(t, s), open(t, s)
	})
}
