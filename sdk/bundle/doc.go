// Package bundle reads and changes an unpacked bundle: one version of an
// operator as a directory with manifests and metadata, as it comes out of a
// bundle image.
//
// It finds the pull specs of a bundle's ClusterServiceVersions, rewrites them
// in the eight ways that an organization can ask for, and leaves every other
// byte of every file alone. What lies in the directory was made by somebody
// else: every file is bounded before it is read, links are not followed, and a
// mistake is reported with file and line.
//
// The package serves the plugins of this repository and promises less than
// package sdk: it changes when they need it to.
package bundle
