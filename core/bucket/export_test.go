package bucket

import "github.com/iib-engine/iib/core"

// Limit sets what one artifact and one log may have.
func (f *Files) Limit(size, log int64) { f.maxSize, f.maxLog = size, core.LogRoom(log) }

// Sizes of what is sent at once.
const (
	PartSize    = partSize
	SegmentSize = segmentSize
	MaxPending  = maxPending
)
