package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/iib-engine/iib/core/config"
	"github.com/iib-engine/iib/core/queue"
	"github.com/iib-engine/iib/core/store"
)

func newDoctorCommand() *cobra.Command {
	var path, output string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check all that the engine needs, and tell what is wrong and what to do",
		Long: "Check all that the engine needs: the configuration, the database, Redis, the registry, the plugins,\n" +
			"disks, clocks, the key that seals secrets, and the addresses to listen at. It changes nothing, and may be\n" +
			"run before the first start and beside a running engine; run it as the user that the engine runs as.\n\n" +
			"The exit code is 0 when nothing is wrong, whatever is only a warning, and 1 else.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return &exitError{exitUsage, fmt.Errorf("--output is %q, and must be text or json", output)}
			}
			r := examine(c.Context(), path)
			write := r.writeText
			if output == "json" {
				write = r.writeJSON
			}
			if err := write(c.OutOrStdout()); err != nil {
				return err
			}
			if !r.Healthy {
				return &exitError{exitFault, fmt.Errorf("%d of %d findings are wrong", r.count(levelWrong), len(r.Checks))}
			}
			return nil
		},
	}
	c.Flags().StringVar(&path, "config", "iib.hcl", "the configuration file")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// answerLimit bounds a check that asks something over the network.
const answerLimit = 10 * time.Second

// doctor has what its checks share. Each fact is found out once, by the check
// that needs it first.
type doctor struct {
	config *config.Config
	keys   func() ([]store.Key, error)
	// database looks at the database with the keys, if there are any.
	database func() (*store.Condition, error)
	redis    func() (*queue.Condition, error)
	// push tries a push, and returns the registry's clock.
	push func() (registryClock, error)
	// engine asks whoever listens at the API's address.
	engine func() engineAnswer
}

// examine runs all checks. A configuration with mistakes is all that is checked,
// since it says where the rest is.
func examine(ctx context.Context, path string) report {
	const configuration = "configuration"
	c, mistakes := config.Load(path, os.LookupEnv)
	unusable := mistakes.HasErrors()
	if !unusable {
		// A file that is missing does not keep the others from being checked.
		mistakes = append(mistakes, c.CheckNamedFiles()...)
	}
	found := diagnosed(mistakes)
	if len(found) == 0 {
		found = []finding{okay("%s is valid", path)}
	}
	for i := range found {
		found[i].Check = configuration
	}
	if unusable {
		for _, rest := range new(doctor).checks() {
			skipped := unchecked("the configuration has mistakes")
			skipped.Check = rest.name
			found = append(found, skipped)
		}
		return newReport(found)
	}
	d := newDoctor(ctx, c)
	for _, f := range runChecks(ctx, d.checks()) {
		f.Detail, f.Advice = c.Redact(f.Detail), c.Redact(f.Advice)
		found = append(found, f)
	}
	return newReport(found)
}

// diagnosed turns the findings about a configuration into those of a check.
// Their details end in what to do.
func diagnosed(diagnostics config.Diagnostics) []finding {
	var found []finding
	for _, d := range diagnostics {
		f := wrong("", "%s", d)
		if d.Severity == config.Warning {
			f.Level = levelWarning
		}
		found = append(found, f)
	}
	return found
}

func newDoctor(ctx context.Context, c *config.Config) *doctor {
	d := &doctor{config: c}
	d.keys = sync.OnceValues(func() ([]store.Key, error) {
		secrets := c.Secrets
		secrets.MakeKey = false
		return loadKeys(secrets)
	})
	d.database = shared(ctx, func(ctx context.Context) (*store.Condition, error) {
		keys, err := d.keys()
		if err != nil {
			keys = nil // the check of the key tells
		}
		return store.Examine(ctx, c.Database.URL.Reveal(), keys)
	})
	d.redis = shared(ctx, func(ctx context.Context) (*queue.Condition, error) {
		q, err := queue.Open(queue.Options{URL: c.Redis.URL.Reveal()})
		if err != nil {
			return nil, err
		}
		condition, err := q.Examine(ctx)
		return condition, errors.Join(err, q.Close())
	})
	d.push = shared(ctx, d.tryPush)
	d.engine = sync.OnceValue(func() engineAnswer {
		ctx, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		return askEngine(ctx, c)
	})
	return d
}

// shared returns a function that finds something out when it is called first. Its
// time is bounded apart from that of the checks that wait for it.
func shared[T any](ctx context.Context, find func(context.Context) (T, error)) func() (T, error) {
	return sync.OnceValues(func() (T, error) {
		ctx, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		found, err := find(ctx)
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %s", answerLimit)
		}
		return found, err
	})
}

// checks are all but that of the configuration, in the order of the output.
func (d *doctor) checks() []check {
	plugins := answerLimit
	if d.config != nil {
		plugins = time.Duration(2+2*len(d.config.Plugins)/runtime.GOMAXPROCS(0)) * trialLimit
	}
	checks := []check{
		{"database", answerLimit, func(context.Context) []finding { return d.checkDatabase() }},
		{"redis", answerLimit, func(context.Context) []finding { return d.checkRedis() }},
		{"registry", answerLimit, func(context.Context) []finding { return d.checkRegistry() }},
		{"plugins", plugins, d.checkPlugins},
		{"disk", answerLimit, func(context.Context) []finding { return d.checkDisks() }},
		{"clock", answerLimit, func(context.Context) []finding { return d.checkClocks() }},
		{"secrets", answerLimit, func(context.Context) []finding { return d.checkSecrets() }},
		{"identity", answerLimit, func(context.Context) []finding { return d.checkIdentity() }},
		{"listen", answerLimit, func(context.Context) []finding { return d.checkListen() }},
	}
	if d.config != nil && d.config.Artifacts.S3 != nil {
		checks = append(checks, check{"bucket", answerLimit, d.checkBucket})
	}
	return checks
}
