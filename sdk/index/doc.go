// Package index holds what all handlers of index images share: their common
// parameters, the preparation of a request, the finished image's parts, and
// publishing with rebase. It stands on the image, bundle and catalog libraries
// and knows no plugin.
package index
