package servecache

import (
	"encoding/binary"
	"math/bits"
)

// The files of a pogreb database, format version 2 (github.com/akrylysov/pogreb
// v0.10.2). Integers are little-endian.
const (
	pogrebSignature = "pogreb\x0e\xfd"
	pogrebVersion   = 2
	// pogrebHeader is the length of the header of each file.
	pogrebHeader = 512

	bucketSize     = 512
	slotsPerBucket = 31
	slotSize       = 16
	loadFactor     = 0.7

	// hashSeed is any number. The library draws a random one, and takes what
	// it finds in a database that exists.
	hashSeed = 0x11bca4e5
)

func fileHeader() []byte {
	h := make([]byte, pogrebHeader)
	copy(h, pogrebSignature)
	binary.LittleEndian.PutUint32(h[8:], pogrebVersion)
	return h
}

// slot is where the hash table says a record is.
type slot struct {
	hash    uint32
	segment uint16
	key     uint16
	value   uint32
	offset  uint32
}

// hashTable is a linear hash table as the library would have it after putting
// the same number of keys, laid out at once. main and overflow are its files.
type hashTable struct {
	main, overflow []byte
	level          uint64
	buckets        uint64
	split          uint64
}

// newHashTable lays out slots, which have different keys.
func newHashTable(slots []slot) hashTable {
	t := hashTable{buckets: 1}
	// The library splits a bucket whenever the load passes the factor, and one
	// put adds no more load than one split takes.
	for float64(len(slots))/float64(t.buckets*slotsPerBucket) > loadFactor {
		t.buckets++
	}
	t.level = uint64(bits.Len64(t.buckets) - 1)
	t.split = t.buckets - 1<<t.level

	chains := make([][]slot, t.buckets)
	for _, s := range slots {
		i := t.bucket(s.hash)
		chains[i] = append(chains[i], s)
	}
	t.main = append(make([]byte, 0, pogrebHeader+t.buckets*bucketSize), fileHeader()...)
	t.overflow = fileHeader()
	for _, chain := range chains {
		t.main = append(t.main, t.chain(chain)...)
	}
	return t
}

// bucket is the number of the bucket of a hash.
func (t *hashTable) bucket(hash uint32) uint64 {
	i := uint64(hash) & (1<<t.level - 1)
	if i < t.split {
		i = uint64(hash) & (1<<(t.level+1) - 1)
	}
	return i
}

// chain returns the bucket of some slots. What does not fit goes to the
// overflow file, the last bucket of the chain first.
func (t *hashTable) chain(slots []slot) []byte {
	n := min(len(slots), slotsPerBucket)
	var next uint64
	if rest := slots[n:]; len(rest) > 0 {
		bucket := t.chain(rest)
		next = uint64(len(t.overflow))
		t.overflow = append(t.overflow, bucket...)
	}
	bucket := make([]byte, 0, bucketSize)
	for _, s := range slots[:n] {
		bucket = binary.LittleEndian.AppendUint32(bucket, s.hash)
		bucket = binary.LittleEndian.AppendUint16(bucket, s.segment)
		bucket = binary.LittleEndian.AppendUint16(bucket, s.key)
		bucket = binary.LittleEndian.AppendUint32(bucket, s.value)
		bucket = binary.LittleEndian.AppendUint32(bucket, s.offset)
	}
	bucket = append(bucket, make([]byte, (slotsPerBucket-n)*slotSize)...)
	bucket = binary.LittleEndian.AppendUint64(bucket, next)
	return bucket[:bucketSize]
}

// murmur3 is MurmurHash3_x86_32, the hash of the table.
func murmur3(key string, seed uint32) uint32 {
	const c1, c2 = 0xcc9e2d51, 0x1b873593
	mix := func(k uint32) uint32 { return bits.RotateLeft32(k*c1, 15) * c2 }
	h, n := seed, len(key)
	for ; len(key) >= 4; key = key[4:] {
		k := uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24
		h = bits.RotateLeft32(h^mix(k), 13)*5 + 0xe6546b64
	}
	var k uint32
	for i := len(key) - 1; i >= 0; i-- {
		k = k<<8 | uint32(key[i])
	}
	if len(key) > 0 {
		h ^= mix(k)
	}
	h ^= uint32(n)
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}
