package quay

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// content is a manifest as far as the API shows it.
type content struct {
	Config struct {
		MediaType string        `json:"mediaType"`
		Digest    digest.Digest `json:"digest"`
		Size      int64         `json:"size"`
	} `json:"config"`
	Layers []struct {
		Digest digest.Digest `json:"digest"`
		Size   int64         `json:"size"`
		URLs   []string      `json:"urls"`
	} `json:"layers"`
	Manifests []json.RawMessage `json:"manifests"`
}

// step is an entry of an image's history.
type step struct {
	Created    string `json:"created"`
	CreatedBy  string `json:"created_by"`
	Comment    string `json:"comment"`
	Author     string `json:"author"`
	EmptyLayer bool   `json:"empty_layer"`
}

func isList(m store.Manifest) bool {
	return strings.Contains(m.MediaType, ".index.") || strings.Contains(m.MediaType, ".list.")
}

// maxConfig is how much of a config is read for the history in it.
const maxConfig = 4 << 20

// steps returns the history of an image's layers, one step for each; where the
// config tells nothing, the step is empty.
func (c *call) steps(image content) ([]step, error) {
	layers := make([]step, len(image.Layers))
	_, blob, err := c.Store.OpenBlob(c.r.Context(), c.repository, image.Config.Digest)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	var config struct {
		History []step `json:"history"`
	}
	// The config of an artifact is anything; then there is no history.
	if json.NewDecoder(io.LimitReader(blob, maxConfig)).Decode(&config) != nil {
		return layers, nil
	}
	made := slices.DeleteFunc(config.History, func(s step) bool { return s.EmptyLayer })
	copy(layers, made)
	return layers, nil
}

// images is GET tag/<tag>/images: the layers of an image as the images that
// they were before there were manifests, the top one first.
func (c *call) images() error {
	m, err := c.Store.ManifestByTag(c.r.Context(), c.repository, c.object)
	if err != nil {
		return err
	}
	images := []map[string]any{}
	if !isList(m) {
		var image content
		if err := json.Unmarshal(m.Content, &image); err != nil {
			return err
		}
		steps, err := c.steps(image)
		if err != nil {
			return err
		}
		ancestors := "/"
		for i, layer := range image.Layers {
			sum := sha256.Sum256([]byte(ancestors + layer.Digest.String()))
			id := hex.EncodeToString(sum[:])
			command := []string{}
			if steps[i].CreatedBy != "" {
				command = []string{steps[i].CreatedBy}
			}
			images = append(images, map[string]any{
				"id": id, "created": textOf(steps[i].Created), "comment": steps[i].Comment, "command": command,
				"size": layer.Size, "uploading": false, "sort_index": i, "ancestors": ancestors,
			})
			ancestors += id + "/"
		}
		slices.Reverse(images)
	}
	c.answer(http.StatusOK, map[string]any{"images": images})
	return nil
}

// manifest is GET manifest/<digest>.
func (c *call) manifest() error {
	d, err := store.ParseDigest(c.object)
	if err != nil {
		return err
	}
	m, err := c.Store.ReachableManifest(c.r.Context(), c.repository, d)
	if err != nil {
		return err
	}
	body := map[string]any{
		"digest": m.Digest, "is_manifest_list": isList(m), "manifest_data": string(m.Content),
		"config_media_type": nil, "layers_compressed_size": nil, "layers": nil,
	}
	if !isList(m) {
		var image content
		if err := json.Unmarshal(m.Content, &image); err != nil {
			return err
		}
		steps, err := c.steps(image)
		if err != nil {
			return err
		}
		layers := make([]map[string]any, 0, len(image.Layers))
		var size int64
		for i, layer := range image.Layers {
			size += layer.Size
			var command any
			if steps[i].CreatedBy != "" {
				command = []string{steps[i].CreatedBy}
			}
			layers = append(layers, map[string]any{
				"index": i, "compressed_size": layer.Size, "is_remote": len(layer.URLs) > 0, "urls": layer.URLs,
				"command": command, "comment": nullable(steps[i].Comment), "author": nullable(steps[i].Author),
				"blob_digest": layer.Digest, "created_datetime": textOf(steps[i].Created),
			})
		}
		body["config_media_type"], body["layers_compressed_size"], body["layers"] = image.Config.MediaType, size, layers
	}
	c.answer(http.StatusOK, body)
	return nil
}

func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// textOf writes the time of a config the way the API writes times.
func textOf(created string) any {
	at, err := time.Parse(time.RFC3339Nano, created)
	if err != nil {
		return nil
	}
	return dateText(at.UnixMilli())
}
