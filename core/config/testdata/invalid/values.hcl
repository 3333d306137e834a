# ENV: SECRET=hunter2-canary
# ENV: NOT_TEXT=yes please
# ENV: EMPTY=
server {
  listen          = "127.0.0.1"                 # ERROR: Invalid address
  max_body        = "10 apples"                 # ERROR: Invalid size
  log_level       = "inf"                       # ERROR: Unknown log level
  log_format      = env("SECRET")               # ERROR: Unknown log format
  external_url    = "ftp://example.com"         # ERROR: Invalid URL
  trusted_proxies = ["10.0.0.0/8", "10.0.0.1/8", # ERROR: Invalid network
  "example.com"]                                # ERROR: Invalid network
  data_dir          = ["data"]                  # ERROR: Wrong type
  require_checksums = env("NOT_TEXT")           # ERROR: Wrong type
  tls {
    cert_file = null # ERROR: Missing setting
    key_file  = env("NO_SUCH_VARIABLE") # ERROR: Missing setting
  }
}
identity "header" {
  header = "Authorization" # ERROR: Invalid header name
  from   = []              # ERROR: Empty list
}
identity "kerberos" {
  keytab    = ""                 # ERROR: Invalid path
  principal = "iib@EXAMPLE.COM" # ERROR: Invalid principal
}
identity "oidc" {
  issuer   = "https://user:pw@example.com" # ERROR: Invalid URL
  audience = 12
}
access {
  workers         = "worker@EXAMPLE.COM"           # ERROR: Wrong type
  privileged      = [["nested"]]                   # ERROR: Wrong type
  force_overwrite = 3                              # ERROR: Wrong type
}
database { url = "mysql://db.example.com/iib" } # ERROR: Invalid database URL
redis { url = "redis-sentinel://s1.example.com:26379" } # ERROR: Invalid Redis URL
secrets {
  key           = env("SECRET") # ERROR: Invalid key
  previous_keys = ["00"] # ERROR: Invalid key
}
registry {
  address         = "https://quay.io"       # ERROR: Invalid registry address
  push            = "{registry}/x:{request-id}" # ERROR: Invalid template
  output          = "quay.io/Upper"         # ERROR: Invalid registry address
  plain_http      = ["localhost:99999"]     # ERROR: Invalid registry host
  ca_files        = { "a b" = "ca.pem" }    # ERROR: Invalid registry host
  denied_networks = ["fe80::1%eth0/64"]     # ERROR: Invalid network
}
artifacts {
  keep = "3 days" # ERROR: Invalid duration
  logs = env("EMPTY") # ERROR: Wrong type
}
api {
  page_size = 2.5 # ERROR: Wrong type
  max_per_page = 0 # ERROR: Value out of range
  max_wait = -5 # ERROR: Invalid duration
}
queue "a" {
  concurrency = "four" # ERROR: Wrong type
  timeout     = "0s"   # ERROR: Invalid duration
  attempts    = 1000   # ERROR: Value out of range
  serial      = true   # ERROR: Unknown serial
}
plugin "p" {
  kind     = "gaet"     # ERROR: Unknown kind
  path     = "../sh"    # ERROR: Path outside of the plugin directory
  checksum = "md5:0123" # ERROR: Invalid checksum
  requests = ["Add"]    # ERROR: Invalid request type
  env      = ["A=1"]    # ERROR: Invalid variable name
}
plugin "s" {
  kind   = "service"
  mounts = [
    "/status/",
    "/status",         # ERROR: Invalid mount
    "/a/../b/",        # ERROR: Invalid mount
    "/",               # ERROR: Invalid mount
    "/api/v1/builds/", # ERROR: Invalid mount
    "/api/",           # ERROR: Invalid mount
  ]
}
