package store

import (
	"context"
	"encoding/json"

	"github.com/opencontainers/go-digest"
)

// Referrer describes a manifest that refers to a subject.
type Referrer struct {
	MediaType    string            `json:"mediaType"`
	Digest       digest.Digest     `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// Referrers returns what refers to a subject, sorted by digest, from after
// last on, until the descriptions take more than size bytes. more tells that
// there are others. The subject need not exist; nor need the repository.
func (s *Store) Referrers(ctx context.Context, repository string, subject digest.Digest, artifactType string, last digest.Digest, size int) (all []Referrer, more bool, err error) {
	err = s.view(ctx, func(t *tx) error {
		var id int64
		found, err := t.one(`SELECT id FROM repositories WHERE name = ?`, []any{repository}, &id)
		if err != nil || !found {
			return err
		}
		taken := 0
		return t.each(`SELECT digest, media_type, size, artifact_type, annotations FROM manifests INDEXED BY manifests_by_subject
			WHERE repository = ?1 AND subject = ?2 AND hidden = 0 AND digest > ?3 AND (?4 = '' OR artifact_type = ?4)
			ORDER BY digest`, []any{id, subject, last, artifactType},
			func(scan func(...any) error) error {
				var r Referrer
				var annotations []byte
				if err := scan(&r.Digest, &r.MediaType, &r.Size, &r.ArtifactType, &annotations); err != nil {
					return err
				}
				taken += 300 + len(annotations) + len(r.ArtifactType)
				if taken > size && len(all) > 0 {
					more = true
					return errStop
				}
				if err := json.Unmarshal(annotations, &r.Annotations); err != nil {
					return err
				}
				all = append(all, r)
				return nil
			})
	})
	return all, more, err
}
