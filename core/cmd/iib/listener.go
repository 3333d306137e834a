package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"sync"
	"time"

	"github.com/iib-engine/iib/core/config"
	"github.com/iib-engine/iib/sdk"
)

// listeners are the addresses that services have of their own. A reload opens
// and closes them; one that stays is not touched.
type listeners struct {
	// visitor returns who calls, "" for nobody that is known.
	visitor func(r *http.Request) (string, error)
	// service returns a plugin's handler by name.
	service func(name string) (http.Handler, bool)
	log     *slog.Logger

	mu   sync.Mutex
	open map[config.Listener]*ownListener
}

// ownListener is one address that is listened on.
type ownListener struct {
	plugin string
	server *http.Server
	socket string // the path, "" for TCP
}

// apply opens what the configuration names and closes what it does not. Those
// that can be opened are, whatever becomes of the others.
func (l *listeners) apply(c *config.Config) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	wanted := make(map[config.Listener]string)
	for _, p := range c.PluginsOf("service") {
		for _, address := range p.Listeners {
			wanted[address] = p.Name
		}
	}
	for address, own := range l.open {
		if wanted[address] != own.plugin {
			own.close()
			delete(l.open, address)
		}
	}
	var errs []error
	for address, plugin := range wanted {
		if l.open[address] != nil {
			continue
		}
		own, err := l.listen(c, address, plugin)
		if err != nil {
			errs = append(errs, fmt.Errorf("plugin %q: listen on %s: %w", plugin, address.Address, err))
			continue
		}
		if l.open == nil {
			l.open = make(map[config.Listener]*ownListener)
		}
		l.open[address] = own
	}
	return errors.Join(errs...)
}

func (l *listeners) listen(c *config.Config, address config.Listener, plugin string) (*ownListener, error) {
	own := &ownListener{plugin: plugin}
	var listener net.Listener
	var err error
	if address.Network == "unix" {
		own.socket = address.Address
		listener, err = listenSocket(address)
	} else if listener, err = net.Listen(address.Network, address.Address); err == nil {
		plain := listener
		if _, listener, err = secured(c, plain); err != nil {
			_ = plain.Close()
		}
	}
	if err != nil {
		return nil, err
	}
	own.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.serve(w, r, plugin) }),
		// What the engine's own port has, too.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(l.log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := own.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			l.log.Error("a service's listener ended", "plugin", plugin, "address", address.Address, "err", err)
		}
	}()
	return own, nil
}

// serve hands a request to the service, with the caller's identity as on a
// mount.
func (l *listeners) serve(w http.ResponseWriter, r *http.Request, plugin string) {
	service, ok := l.service(plugin)
	if !ok {
		http.Error(w, "The plugin "+plugin+" is not in force.", http.StatusServiceUnavailable)
		return
	}
	caller, err := l.visitor(r)
	if err != nil {
		l.log.Warn("who calls a service is not known", "plugin", plugin, "err", err)
		w.Header().Set("Retry-After", "1")
		http.Error(w, "Who calls cannot be found out at present; try again.", http.StatusServiceUnavailable)
		return
	}
	r.Header.Del(sdk.UserHeader)
	if caller != "" {
		r.Header.Set(sdk.UserHeader, caller)
	}
	service.ServeHTTP(w, r)
}

// shutdown lets the requests end that are under way, until ctx ends.
func (l *listeners) shutdown(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var wg sync.WaitGroup
	for _, own := range l.open {
		wg.Go(func() {
			if own.server.Shutdown(ctx) != nil {
				_ = own.server.Close()
			}
			own.remove()
		})
	}
	wg.Wait()
	l.open = nil
}

// close ends a listener. Requests that are under way are given time to end.
func (own *ownListener) close() {
	own.remove()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if own.server.Shutdown(ctx) != nil {
			_ = own.server.Close()
		}
	}()
	// Its port is free as soon as Shutdown has begun; another plugin may want it.
	select {
	case <-closed:
	case <-time.After(time.Second):
	}
}

func (own *ownListener) remove() {
	if own.socket != "" {
		_ = os.Remove(own.socket)
	}
}

// listenSocket makes a socket that is there, under its name, only once nobody
// can open it who must not. One that a dead process left is replaced.
func listenSocket(address config.Listener) (net.Listener, error) {
	if info, err := os.Lstat(address.Address); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, errors.New("there is a file of that name which is no socket; remove it")
		}
		if conn, err := net.Dial("unix", address.Address); err == nil {
			_ = conn.Close()
			return nil, errors.New("another process listens there")
		}
	}
	fresh := address.Address + ".new"
	_ = os.Remove(fresh)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	err = os.Chmod(fresh, os.FileMode(address.Mode)&os.ModePerm)
	if err == nil && address.Group != "" {
		err = changeGroup(fresh, address.Group)
	}
	if err == nil {
		err = os.Rename(fresh, address.Address)
	}
	if err != nil {
		_ = listener.Close()
		_ = os.Remove(fresh)
		return nil, err
	}
	return listener, nil
}

func changeGroup(path, name string) error {
	group, err := user.LookupGroup(name)
	if err != nil {
		return err
	}
	id, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	return os.Chown(path, -1, id)
}
