package store

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
)

// Scrub checks that everything that can be pulled or restored is complete: each
// row of the history has its manifest, each manifest what it names, and each
// blob its bytes. With deep it reads the bytes and compares the digests. It
// returns what is wrong, each with its place.
func (s *Store) Scrub(ctx context.Context, deep bool) (problems []string, err error) {
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	type stored struct {
		digest digest.Digest
		size   int64
	}
	var blobs []stored
	err = s.view(ctx, func(t *tx) error {
		for _, check := range []struct{ what, query string }{
			{"%s: tag %s names manifest %s, which is missing", `SELECT r.name, t.name, t.digest FROM tags t JOIN repositories r ON r.id = t.repository
				WHERE NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository = t.repository AND m.digest = t.digest)`},
			{"%s: manifest %s names manifest %s, which is missing", `SELECT r.name, m.digest, n.digest FROM needs n
				JOIN manifests m ON m.id = n.manifest JOIN repositories r ON r.id = n.repository
				WHERE n.child = 1 AND n.absent = 0
				AND NOT EXISTS (SELECT 1 FROM manifests c WHERE c.repository = n.repository AND c.digest = n.digest)`},
			{"%s: manifest %s names manifest %s, which was deleted", `SELECT r.name, m.digest, n.digest FROM needs n
				JOIN manifests m ON m.id = n.manifest JOIN repositories r ON r.id = n.repository
				JOIN manifests c ON c.repository = n.repository AND c.digest = n.digest
				WHERE n.child = 1 AND n.absent = 0 AND m.hidden = 0 AND c.hidden = 1`},
			{"%s: manifest %s names blob %s, which is missing", `SELECT r.name, m.digest, n.digest FROM needs n
				JOIN manifests m ON m.id = n.manifest JOIN repositories r ON r.id = n.repository
				WHERE n.child = 0 AND n.absent = 0
				AND NOT EXISTS (SELECT 1 FROM links l WHERE l.repository = n.repository AND l.digest = n.digest AND (l.hidden = 0 OR m.hidden = 1))`},
			{"%s: tag %s means two manifests, also %s", `SELECT r.name, a.name, b.digest FROM tags a
				JOIN tags b ON b.repository = a.repository AND b.name = a.name AND b.number > a.number
				JOIN repositories r ON r.id = a.repository
				WHERE a.hidden = 0 AND b.hidden = 0 AND (a.ends IS NULL OR a.ends > b.starts)`},
		} {
			if err := t.each(check.query, nil, func(scan func(...any) error) error {
				var a, b, c string
				if err := scan(&a, &b, &c); err != nil {
					return err
				}
				complain(check.what, a, b, c)
				return nil
			}); err != nil {
				return err
			}
		}
		if err := t.each(`SELECT m.digest, m.content, r.name FROM manifests m JOIN repositories r ON r.id = m.repository`, nil,
			func(scan func(...any) error) error {
				var d digest.Digest
				var content []byte
				var name string
				if err := scan(&d, &content, &name); err != nil {
					return err
				}
				if d.Algorithm().FromBytes(content) != d {
					complain("%s: manifest %s has other content", name, d)
				}
				return nil
			}); err != nil {
			return err
		}
		return t.each(`SELECT digest, size FROM blobs`, nil, func(scan func(...any) error) error {
			var b stored
			if err := scan(&b.digest, &b.size); err != nil {
				return err
			}
			blobs = append(blobs, b)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("scrub: %w", err)
	}
	for _, b := range blobs {
		if err := s.scrubBlob(ctx, b.digest, b.size, deep); err != nil {
			complain("%v", err)
		}
	}
	return problems, nil
}

func (s *Store) scrubBlob(ctx context.Context, d digest.Digest, size int64, deep bool) error {
	content, err := s.content(ctx, d)
	if err != nil {
		return err
	}
	defer content.Close()
	got, err := content.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("blob %s: %w", d, err)
	}
	if got != size {
		return fmt.Errorf("blob %s has %d bytes, not %d", d, got, size)
	}
	if !deep {
		return nil
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("blob %s: %w", d, err)
	}
	sum := d.Algorithm().Hash()
	if _, err := io.Copy(sum, content); err != nil {
		return fmt.Errorf("blob %s: %w", d, err)
	}
	if digest.NewDigest(d.Algorithm(), sum) != d {
		return fmt.Errorf("blob %s has other content", d)
	}
	return nil
}
