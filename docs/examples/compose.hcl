# /etc/iib/iib.hcl for compose.yaml. docs/configuration.md explains every setting.

server {
  listen       = "0.0.0.0:8080"
  external_url = "http://127.0.0.1:8080"
  data_dir     = "/var/lib/iib"
  plugin_dir   = "/usr/lib/iib/plugins"
}

# Nobody has to log in: compose.yaml lets only this machine reach the API.
identity "none" {}

database {
  url = env("IIB_DATABASE_URL")
}

redis {
  url = env("IIB_REDIS_URL")
}

secrets {
  key_file = "/run/secrets/iib_key"
}

# As the workers see it.
registry {
  address    = "api:8080"
  plain_http = ["api:8080"]
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
