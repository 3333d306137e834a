// Package config reads iib.hcl and tells every mistake in it at once, each with
// its line, its column and advice.
//
// The language of the file is one value, a Schema, from which everything else
// follows: how a file is decoded, what the defaults are, what the reference in
// docs/configuration.md says. A plugin's own settings are read by the same
// code from the Schema that the plugin reports once it runs, so a mistake in
// them is reported as well as one in the engine's own.
//
// Values that come from the environment or from other files stay marked
// through every expression, and never appear in a diagnostic.
package config
