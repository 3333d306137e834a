queue "a" { concurrency = 0 } # ERROR: Value out of range
server { # ERROR: Unclosed block
  listen = ":8080"
  tls {
}
queue "b" { concurrency = 0 }
