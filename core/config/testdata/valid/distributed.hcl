# ENV: IIB_DATABASE_URL=postgres://iib:hunter2@db.example.com/iib?sslmode=verify-full
# ENV: IIB_REDIS_URL=redis-sentinel://:hunter2@s1.example.com:26379,s2.example.com:26379?master=iib
# ENV: IIB_SECRET_KEY=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=
# ENV: AWS_ACCESS_KEY_ID=AKIAEXAMPLE
# ENV: AWS_SECRET_ACCESS_KEY=hunter2
locals {
  # Used before it is defined, and in more than one place.
  index     = "${local.registry}/iib/index"
  registry  = "registry.example.com:5000"
  operators = ["red", "green"]
}

server {
  listen            = "0.0.0.0:8443"
  data_dir          = "/var/lib/iib"
  plugin_dir        = "/usr/libexec/iib/plugins"
  require_checksums = true
  external_url      = "https://iib.example.com/"
  max_body          = "512 KiB"
  log_level         = "warn"
  log_format        = "json"
  trusted_proxies   = ["10.1.0.0/16", "fd00::/8"]
  tls {
    cert_file = "tls/tls.crt"
    key_file  = "tls/tls.key"
  }
}

identity "header" {
  header = "X-Forwarded-User"
  from   = ["10.1.2.3/32"]
}
identity "kerberos" {
  keytab    = "iib.keytab"
  principal = "HTTP/iib.example.com@EXAMPLE.COM"
}
identity "oidc" {
  issuer   = "https://sso.example.com/realms/iib"
  audience = "iib"
}
identity "tokens" { file = "/etc/iib/tokens" }

access {
  workers         = ["worker@EXAMPLE.COM"]
  privileged      = ["release@EXAMPLE.COM"]
  force_overwrite = "true" # as env() would give it
}

database { url = env("IIB_DATABASE_URL") }
redis { url = env("IIB_REDIS_URL") }
secrets {
  key           = env("IIB_SECRET_KEY")
  previous_keys = ["202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"]
}

registry {
  address         = "quay.io/example"
  push            = "{registry}/builds:r{request_id}"
  output          = local.registry
  auth_file       = "auth.json"
  plain_http      = ["localhost:5000", "[::1]:5000"]
  ca_files        = { "${local.registry}" = "ca.pem" }
  denied_networks = []

  quay "quay.io" {}
  quay "quay.example.com:8443" {
    url        = "https://api.quay.example.com/"
    token_file = "distributed.hcl"
  }
  oci             = true
}

artifacts {
  keep = "3d12h"
  logs = env("KEEP_LOGS", "false") # not set: the default counts
  s3 {
    bucket     = "iib-artifacts"
    region     = "eu-central-1"
    endpoint   = "https://s3.example.com"
    ca_file    = "certificates/s3.pem"
    prefix     = "prod/"
    access_key = env("AWS_ACCESS_KEY_ID")
    secret_key = env("AWS_SECRET_ACCESS_KEY")
  }
}

api {
  page_size           = 50
  max_per_page        = 100
  max_wait            = "90s"
  requests_per_minute = 600
}

tracing { endpoint = "http://otel.example.com:4318" }

queue "default" {
  concurrency = 8
  timeout     = "1h30m"
  attempts    = 3
  priority    = 5
}
queue "stage-serial" {
  concurrency = 1
  serial      = "queue"
}
queue "prod" { serial = "index" }

user "stage-bot@EXAMPLE.COM" { overwrite_queue = "stage-serial" }
user "release@EXAMPLE.COM" {
  queue           = "prod"
  overwrite_queue = "prod"
  index "registry.example.com:5000/iib/index:v4.16" {
    overwrite_queue = "stage-serial"
  }
}

plugin "index-add" {
  kind     = "handler"
  checksum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  requests = ["add"]
  env      = ["HTTPS_PROXY"]
  limits {
    memory     = "512MiB"
    cpu_time   = "1h"
    open_files = 1024
  }
  config {
    required_labels = { "com.redhat.delivery.operator.bundle" = "true" }
    binary_image = {
      prod = { "v4.16" = "${local.index}:v4.16" }
    }
    allow = [for o in local.operators : upper(o)]
    token = env("AWS_SECRET_ACCESS_KEY")
    limit = 1.5
    empty = null
    query "default" {
      context  = "stage"
      password = "shown to nobody"
    }
  }
}

plugin "gate" {
  kind     = "gate"
  enabled  = env("IIB_GATING") == "on"
  requests = ["add"]
  timeout  = "30s"
}
plugin "image-builder" {
  kind               = "builder"
  path               = "/opt/iib/image-builder"
  checksum           = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  insecure_transport = true
}
plugin "status-page" {
  kind               = "service"
  checksum           = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  mount              = "/status/"
  mounts             = ["/api/v1/status/"]
  pass_authorization = true
  listener "127.0.0.1:8081" {}
  listener "unix:/run/iib/status.sock" {
    group = "iib"
    mode  = "0660"
  }
}
plugin "customizations" {
  kind     = "customizer"
  path     = "sub/customizations"
  checksum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
}

organization "company-marketplace" {
  customize "resolve_image_pullspecs" {}
  customize "package_name_suffix" { suffix = "-cmp" }
  customize "csv_annotations" {
    plugin      = "customizations"
    annotations = { marketplace = "https://example.com/{package_name}" }
  }
  customize "resolve_image_pullspecs" {}
}
organization "*" {
  customize "resolve_image_pullspecs" {}
}
