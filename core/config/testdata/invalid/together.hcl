# ENV: SECRET=hunter2-canary # ERROR: Ambiguous builder
server {
  listen            = "127.0.0.1:8080"
  require_checksums = true
  external_url      = "http://iib.example.com" # WARNING: Plain external URL
  tls {
    cert_file = "crt"
    key_file  = "key"
  }
}
secrets {
  key      = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" # WARNING: Key in the file
  key_file = "key" # ERROR: Conflicting settings
}
artifacts {
  dir = "artifacts" # ERROR: Conflicting settings
  s3 {
    bucket     = "b.1"
    region     = "r"
    access_key = "a"
    secret_key = "b"
  }
}
api {
  page_size    = 30 # ERROR: Conflicting settings
  max_per_page = 20
}
plugin "no-checksum" { # ERROR: Missing checksum
  kind = "notifier"
}
plugin "disabled" {
  kind    = "service"
  enabled = false
  mount   = "/a/"
}
plugin "one" {
  kind     = "service"
  checksum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  mounts   = ["/a/", "/b/", "/b/"] # ERROR: Duplicate mount
  listener "127.0.0.1:9000" {
    group = "iib" # ERROR: Useless setting
    mode  = "0660" # ERROR: Useless setting
  }
  listener "127.0.0.1:8080" {} # ERROR: Duplicate address
  listener "unix:relative.sock" {} # ERROR: Invalid address
  listener "unix:/run/x.sock" { mode = "777" } # ERROR: Invalid file mode
}
plugin "two" {
  kind     = "service"
  checksum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  mount    = "/a/" # ERROR: Duplicate mount
  requests = ["add"] # ERROR: Useless setting
  listener "127.0.0.1:9000" {} # ERROR: Duplicate address
}
plugin "nowhere" { # ERROR: Missing mount
  kind     = "service"
  checksum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
}
plugin "handler" {
  kind     = "handler"
  checksum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  mount    = "/x/" # ERROR: Useless setting
  timeout  = "1m"  # ERROR: Useless setting
  pass_authorization = true # ERROR: Useless setting
  listener ":1" {} # ERROR: Useless setting
}
plugin "builder-one" {
  kind     = "builder"
  checksum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
}
plugin "builder-two" {
  kind     = "builder"
  checksum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
}
organization "x" { # ERROR: Missing customizer
  customize "y" {}
}

queue "composes" {
  requests = ["compose", "add"]
}

queue "adds" {
  requests = ["rm", "add"] # ERROR: Conflicting settings
}
