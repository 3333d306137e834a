package main

import (
	"regexp"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/registry/internal/access"
	"github.com/iib-engine/iib/plugins/registry/internal/store"
	"github.com/iib-engine/iib/sdk"
)

// Settings are the plugin's configuration.
type Settings struct {
	Window           time.Duration `hcl:"window,optional" doc:"How long a tag's past can be restored after it has ended. 0s forgets at once."`
	Hold             time.Duration `hcl:"hold,optional" doc:"How long what was pushed waits for the manifest or the tag that will keep it."`
	CollectEvery     time.Duration `hcl:"collect_every,optional" doc:"How often garbage is collected."`
	AuditFor         time.Duration `hcl:"audit_for,optional" doc:"How long the record of changes is kept."`
	MaxBlob          int64         `hcl:"max_blob,optional" doc:"The size of the largest blob taken, in bytes."`
	PermanentRemoval bool          `hcl:"permanent_removal,optional" doc:"Lets writers take a tag's past away before its window ends."`

	Readers []string `hcl:"readers,optional" doc:"Who may pull where no repository block says. * is everybody, @users everybody with a name."`
	Writers []string `hcl:"writers,optional" doc:"Who may push and restore where no repository block says."`
	Admins  []string `hcl:"admins,optional" doc:"Who may do everything where no repository block says. Without any list, everybody."`

	UsersFile string          `hcl:"users_file,optional" doc:"An htpasswd file with bcrypt hashes: users that the engine does not know. The plugin block needs pass_authorization."`
	Robots    []RobotSettings `hcl:"robot,block" doc:"An account for a program."`
	TokenLife time.Duration   `hcl:"token_life,optional" doc:"How long the token is good for that a client gets for a password."`

	Repositories []RepositorySettings `hcl:"repository,block" doc:"What holds for some repositories; the first block that fits and says a thing decides it."`
}

// RepositorySettings are what holds for the repositories that fit a pattern.
type RepositorySettings struct {
	Pattern string `hcl:"pattern,label" doc:"A repository's name; * stands for a part of a segment, /** at the end for all names below."`

	Readers []string `hcl:"readers,optional" doc:"Who may pull."`
	Writers []string `hcl:"writers,optional" doc:"Who may push, delete and restore."`
	Admins  []string `hcl:"admins,optional" doc:"Who may do everything, such as take immutability away and read the record."`

	Window      *time.Duration `hcl:"window,optional" doc:"How long a tag's past can be restored."`
	Immutable   string         `hcl:"immutable,optional" doc:"A regular expression; tags that match all of it can be neither moved nor deleted."`
	ReadOnly    bool           `hcl:"read_only,optional" doc:"Refuses every change."`
	SparseLists bool           `hcl:"sparse_lists,optional" doc:"Takes manifest lists of which some images are missing."`

	Retain *RetainSettings `hcl:"retain,block" doc:"Ends old tags by itself."`
}

// RobotSettings are an account for a program.
type RobotSettings struct {
	Name   string     `hcl:"name,label" doc:"What the program gives as its user name; by custom team+purpose."`
	Secret sdk.Secret `hcl:"secret" doc:"What it gives as its password."`
}

// RetainSettings are which tags stay; the others are deleted, into the history.
type RetainSettings struct {
	Tags   string        `hcl:"tags,optional" doc:"A regular expression; only tags that match all of it are ended. Without it, any."`
	Latest int           `hcl:"latest,optional" doc:"How many of the latest tags stay in any case."`
	For    time.Duration `hcl:"for,optional" doc:"How long a tag stays after it was pushed, in any case."`
	DryRun bool          `hcl:"dry_run,optional" doc:"Only logs what would be ended."`
}

func defaultSettings() Settings {
	return Settings{
		Window:       14 * 24 * time.Hour,
		Hold:         time.Hour,
		CollectEvery: 5 * time.Minute,
		AuditFor:     90 * 24 * time.Hour,
		MaxBlob:      32 << 30,
		TokenLife:    5 * time.Minute,
	}
}

// Validate implements sdk.Validator.
func (s *Settings) Validate() error {
	for _, check := range []struct {
		field string
		value time.Duration
		least time.Duration
	}{
		{"window", s.Window, 0}, {"hold", s.Hold, time.Minute},
		{"collect_every", s.CollectEvery, time.Second}, {"audit_for", s.AuditFor, 0},
		{"token_life", s.TokenLife, time.Minute},
	} {
		if check.value < check.least {
			return sdk.FieldErrorf(check.field, "%s is %s and must be at least %s", check.field, check.value, check.least)
		}
	}
	if s.MaxBlob < 1 {
		return sdk.FieldErrorf("max_blob", "max_blob is %d and must be a number of bytes", s.MaxBlob)
	}
	robots := make(map[string]bool)
	for _, r := range s.Robots {
		if r.Name == "" || strings.ContainsAny(r.Name, ": \t\r\n") || robots[r.Name] {
			return sdk.FieldErrorf("robot", "robot %q: want a name of its own without spaces and colons", r.Name)
		}
		if len(r.Secret) < 12 {
			return sdk.FieldErrorf("robot", "robot %q: the secret must have at least 12 characters", r.Name)
		}
		robots[r.Name] = true
	}
	for _, r := range s.Repositories {
		if err := access.CheckPattern(r.Pattern); err != nil {
			return sdk.FieldErrorf("repository", "repository: %v", err)
		}
		if r.Window != nil && *r.Window < 0 {
			return sdk.FieldErrorf("repository", "repository %q: window is %s and must not be negative", r.Pattern, *r.Window)
		}
		if _, err := whole(r.Immutable); err != nil {
			return sdk.FieldErrorf("repository", "repository %q: immutable: %v", r.Pattern, err)
		}
		if r.Retain == nil {
			continue
		}
		if _, err := whole(r.Retain.Tags); err != nil {
			return sdk.FieldErrorf("repository", "repository %q: retain: tags: %v", r.Pattern, err)
		}
		if r.Retain.Latest < 0 || r.Retain.For < 0 || r.Retain.Latest == 0 && r.Retain.For == 0 {
			return sdk.FieldErrorf("repository", "repository %q: retain: set latest, for, or both, so that something stays", r.Pattern)
		}
	}
	return nil
}

// whole compiles an expression that has to match a whole name; nil for none.
func whole(expression string) (*regexp.Regexp, error) {
	if expression == "" {
		return nil, nil
	}
	return regexp.Compile(`\A(?:` + expression + `)\z`)
}

// policy returns who may do what.
func (s *Settings) policy() access.Policy {
	var policy access.Policy
	for _, r := range s.Repositories {
		if len(r.Readers)+len(r.Writers)+len(r.Admins) > 0 {
			policy = append(policy, access.Rule{Repository: r.Pattern, Readers: r.Readers, Writers: r.Writers, Admins: r.Admins})
		}
	}
	if len(s.Readers)+len(s.Writers)+len(s.Admins) > 0 {
		policy = append(policy, access.Rule{Repository: "**", Readers: s.Readers, Writers: s.Writers, Admins: s.Admins})
	}
	return policy
}

// rules are the settings in the form that requests ask for.
type rules struct {
	settings  *Settings
	immutable []*regexp.Regexp // by repository block
	retain    []*regexp.Regexp
}

// newRules prepares settings that are valid.
func newRules(s *Settings) *rules {
	r := &rules{settings: s}
	for _, block := range s.Repositories {
		immutable, _ := whole(block.Immutable)
		r.immutable = append(r.immutable, immutable)
		var tags *regexp.Regexp
		if block.Retain != nil {
			tags, _ = whole(block.Retain.Tags)
		}
		r.retain = append(r.retain, tags)
	}
	return r
}

// of returns what holds for a repository.
func (r *rules) of(repository string) store.Rules {
	found := store.Rules{Window: r.settings.Window}
	window := false
	for i, block := range r.settings.Repositories {
		if !access.Fits(block.Pattern, repository) {
			continue
		}
		if block.Window != nil && !window {
			found.Window, window = *block.Window, true
		}
		if found.Immutable == nil {
			found.Immutable = r.immutable[i]
		}
		found.SparseLists = found.SparseLists || block.SparseLists
	}
	return found
}

func (r *rules) readOnly(repository string) bool {
	for _, block := range r.settings.Repositories {
		if block.ReadOnly && access.Fits(block.Pattern, repository) {
			return true
		}
	}
	return false
}

// retention returns which tags of a repository stay, or false if all do.
func (r *rules) retention(repository string) (retention store.Retention, dryRun, found bool) {
	for i, block := range r.settings.Repositories {
		if block.Retain != nil && access.Fits(block.Pattern, repository) {
			return store.Retention{Tags: r.retain[i], Latest: block.Retain.Latest, For: block.Retain.For}, block.Retain.DryRun, true
		}
	}
	return store.Retention{}, false, false
}
