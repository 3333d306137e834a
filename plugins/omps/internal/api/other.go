package api

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
)

// delete ends one release, or all of them.
func (c *call) delete() (any, error) {
	if err := c.authorized(); err != nil {
		return nil, err
	}
	ctx := c.r.Context()
	unlock, err := c.packages.Lock(ctx, c.organization+"/"+c.repository)
	if err != nil {
		return nil, err
	}
	defer unlock()
	releases := []string{c.release}
	if !c.explicit {
		if releases, err = c.Target.Releases(ctx, c.authorization, c.organization, c.repository); err != nil {
			return nil, err
		}
	}
	deleted := []string{}
	for _, release := range releases {
		if err := c.Target.Delete(ctx, c.authorization, c.organization, c.repository, release); err != nil {
			var f *fault.Fault
			if errors.As(err, &f) && len(deleted) > 0 {
				return nil, f.With("deleted", deleted)
			}
			return nil, err
		}
		deleted = append(deleted, release)
	}
	return map[string]any{"organization": c.organization, "repo": c.repository, "deleted": deleted}, nil
}

func (c *call) about() (any, error) {
	return map[string]string{"version": c.Version, "operatorcourier": rules}, nil
}

// health is how the services stand that a push needs.
type health struct {
	OK       bool                 `json:"ok"`
	Status   int                  `json:"status"`
	Services map[string]*standing `json:"services"`
}

type standing struct {
	OK      bool   `json:"ok"`
	Details string `json:"details"`
}

type pinger interface {
	Ping(ctx context.Context) error
}

func (c *call) health() (any, error) {
	asked := map[string]pinger{"quay": c.Target}
	h := &health{OK: true, Status: http.StatusOK, Services: map[string]*standing{"koji": nil, "greenwave": nil}}
	if c.Source != nil {
		asked["koji"] = c.Source
	}
	if c.Gate != nil {
		asked["greenwave"] = c.Gate
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, service := range asked {
		wg.Go(func() {
			s := &standing{OK: true, Details: "It works!"}
			if err := service.Ping(c.r.Context()); err != nil {
				s.OK, s.Details = false, err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			h.Services[name] = s
			if !s.OK {
				h.OK, h.Status = false, http.StatusServiceUnavailable
			}
		})
	}
	wg.Wait()
	return h, nil
}
