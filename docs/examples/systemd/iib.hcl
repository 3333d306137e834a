# /etc/iib/iib.hcl for iib.service and iib-worker@.service: an API with the
# registry, and workers beside it or on other machines. docs/configuration.md
# explains every setting.

server {
  listen          = "127.0.0.1:8080"
  external_url    = "https://iib.example.com"
  data_dir        = "/var/lib/iib" # workers have IIB_DATA_DIR
  plugin_dir      = "/usr/lib/iib/plugins"
  trusted_proxies = ["127.0.0.0/8"]
}

# The proxy in front, which speaks TLS, tells who calls.
identity "header" {
  header = "X-Remote-User"
  from   = ["127.0.0.0/8"]
}

database {
  url = env("IIB_DATABASE_URL")
}

redis {
  url = env("IIB_REDIS_URL")
}

secrets {
  key_file = "/etc/iib/secret.key" # openssl rand -base64 32
}

# Seen from the workers. Elsewhere than beside the API it is another address.
registry {
  address    = "127.0.0.1:8080"
  plain_http = ["127.0.0.1:8080"]
}

artifacts {
  dir = "/var/lib/iib/artifacts"
}

queue "default" {
  concurrency = 4
  timeout     = "2h"
}

plugin "index-add" {
  kind = "handler"
  limits {
    memory     = "4GiB"
    open_files = 4096
  }
}

plugin "index-rm" {
  kind = "handler"
}

plugin "image-builder" {
  kind = "builder"
}

plugin "registry" {
  kind   = "service"
  mounts = ["/v2/", "/api/v1/repository/"]
}
