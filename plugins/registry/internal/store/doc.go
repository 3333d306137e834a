// Package store keeps what the registry holds: repositories with their blobs
// and manifests, the history of their tags, and the record of who changed it.
//
// # What is where
//
// The bytes of large blobs are files, written by distribution's storage driver.
// Everything else, manifests and small blobs included, is in one SQLite
// database. So a push by tag, with the manifest, the row of the history that it
// closes and the one that it opens, is a single transaction, and so is every
// other operation. A small blob costs one flush of the disk: as a file it would
// cost three, and making a file on top.
//
// # Durability
//
// A method that has returned without an error has its effects on the disk. A
// blob's file is complete, synced and in place before the row that speaks of
// it; the row is gone before the file is removed. A crash between the two
// leaves a file that nothing speaks of, and Sweep finds it.
//
// # What is kept
//
// A manifest is kept by a row of the history that names it, by a list that is
// kept and names it, and by its subject if that is kept. A blob is kept by a
// manifest in its repository. What nothing keeps stays for a while, called the
// hold, after a client was last told that it is there: pushes come in many
// requests, and rely on it. Collect removes the rest.
//
// # Time
//
// The times of a repository's history only ever grow, by a millisecond at
// least, even if the machine's clock goes back. So the rows of a name never
// overlap, and their order is the order in which things happened.
//
// # Processes
//
// Two processes may have the same directory open, as they do while the engine
// replaces one by the other. SQLite's lock on writing orders them, and a file
// is moved or removed only by who holds it.
package store
