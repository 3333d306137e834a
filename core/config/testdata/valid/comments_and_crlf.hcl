// Two slashes begin a comment,
/* and so do these, over
   several lines. */
server {
  log_level = "debug"
}
queue "a" {}
