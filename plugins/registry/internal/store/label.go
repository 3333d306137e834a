package store

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// Labels of an image that say how its tags shall live. An annotation of the
// manifest wins over the label of the config.
const (
	labelExpires   = "quay.expires-after"
	labelImmutable = "quay.immutable"
)

// maxConfig is how much of a config is read for its labels.
const maxConfig = 4 << 20

// lease is what an image's labels say about its tags.
type lease struct {
	// expires is the life of a tag in milliseconds; nil is without end.
	expires   *int64
	immutable bool
}

// lease reads what an image says about its tags. A config that is not there
// or not readable says nothing: whether it must be there is decided elsewhere.
func (s *Store) lease(ctx context.Context, doc *document) lease {
	labels := make(map[string]string)
	if doc.Config != nil && (doc.Config.MediaType == typeImageConfig || doc.Config.MediaType == typeDockerImageConfig) &&
		doc.Config.Size <= maxConfig {
		if read, err := s.configLabels(ctx, doc.Config); err == nil {
			labels = read
		}
	}
	for _, name := range []string{labelExpires, labelImmutable} {
		if value, ok := doc.Annotations[name]; ok {
			labels[name] = value
		}
	}
	return lease{expires: parseLife(labels[labelExpires]), immutable: labels[labelImmutable] == "true"}
}

func (s *Store) configLabels(ctx context.Context, d *descriptor) (map[string]string, error) {
	content, err := s.content(ctx, d.Digest)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	var config struct {
		Config struct {
			Labels map[string]string
		} `json:"config"`
	}
	if err := json.NewDecoder(io.LimitReader(content, maxConfig)).Decode(&config); err != nil {
		return nil, fmt.Errorf("read config %s: %w", d.Digest, err)
	}
	if config.Config.Labels == nil {
		return make(map[string]string), nil
	}
	return config.Config.Labels, nil
}

// parseLife reads a life such as "2w" in milliseconds, or returns nil for what
// is none.
func parseLife(text string) *int64 {
	if len(text) < 2 {
		return nil
	}
	units := map[byte]time.Duration{
		's': time.Second, 'm': time.Minute, 'h': time.Hour,
		'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour, 'y': 365 * 24 * time.Hour,
	}
	unit, known := units[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
	if !known || err != nil || n == 0 {
		return nil
	}
	// Beyond some 290 years there is no end.
	if int64(n) > math.MaxInt64/int64(unit) {
		return nil
	}
	life := int64(n) * unit.Milliseconds()
	return &life
}
