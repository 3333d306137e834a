// Package plugin keeps the roster: it launches and supervises the plugin
// processes that iib.hcl names, restarts those that die, retires those that a
// reload takes out once their last request has ended, and lends the rest to
// the engine as the kinds of package sdk.
package plugin
