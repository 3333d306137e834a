package servecache

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/operator-framework/operator-registry/pkg/api"
)

// pogrebEncoding is what opm puts into its pogreb database.
type pogrebEncoding struct{}

const (
	bundlePrefix = "bundles/"
	metaPrefix   = "metas/"
	packagesKey  = "packages.json"
)

func (pogrebEncoding) bundleKey(pkg, channel, name string) (string, error) {
	key := bundlePrefix + pkg + "/" + channel + "/" + name
	if len(key) > math.MaxUint16 {
		return "", fmt.Errorf("the names together are longer than %d bytes", math.MaxUint16)
	}
	return key, nil
}

func (pogrebEncoding) bundle(b *api.Bundle) ([]byte, error) {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(b)
	if err != nil {
		return nil, err
	}
	return value, checkPogrebValue(value)
}

// customs are all metas of a schema in one value, each after its length.
func (pogrebEncoding) customs(schema, pkg string, blobs [][]byte) ([]record, error) {
	r := record{key: metaPrefix + schema + "/" + pkg}
	if len(r.key) > math.MaxUint16 {
		return nil, fmt.Errorf("schema and package are longer than %d bytes", math.MaxUint16)
	}
	for _, blob := range blobs {
		var s structpb.Struct
		if err := s.UnmarshalJSON(blob); err != nil {
			return nil, err
		}
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(&s)
		if err != nil {
			return nil, err
		}
		r.value = binary.BigEndian.AppendUint32(r.value, uint32(len(text)))
		r.value = append(r.value, text...)
		if err := checkPogrebValue(r.value); err != nil {
			return nil, err
		}
	}
	return []record{r}, nil
}

func checkPogrebValue(value []byte) error {
	const most = 512 << 20
	if len(value) > most {
		return fmt.Errorf("larger than %d bytes, the most that the database takes", most)
	}
	return nil
}

// frameHead and frameTail are what a record of the database has around key and
// value: their lengths, and a checksum.
const (
	frameHead = 6
	frameTail = 4
)

func (pogrebEncoding) frame(dst []byte, r record) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(r.key)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.value)))
	dst = append(dst, r.key...)
	dst = append(dst, r.value...)
	return binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}
