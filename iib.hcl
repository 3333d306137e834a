# The configuration of the engine, as it is shipped: it runs with nothing else
# installed. Requests are kept in a SQLite file, the queue and the registry run
# inside of the process, and only this machine can reach it.
#
#   check it:    bin/iib validate iib.hcl
#   start it:    bin/iib server
#   reload it:   send SIGHUP to the running process
#
# docs/configuration.md explains every block and setting. What is left out has
# the default that is written there. Relative paths are seen from the directory
# of this file. ${...} is filled in when the file is read, {...} when a request
# runs.

server {
  # The API answers here. The environment variable IIB_LISTEN wins over it.
  listen = "127.0.0.1:8080"

  # The database, logs, images and caches are kept here. The environment
  # variable IIB_DATA_DIR wins over it.
  data_dir = "data"
}

# Nobody has to log in, which is why the engine listens on this machine only.
# Before others can reach it, replace this by the way in which your users are
# recognized: "header", "kerberos", "oidc" or "tokens".
identity "none" {}

# Empty settings mean the built-in parts. Several machines share a PostgreSQL
# and a Redis instead; these two variables are then all that has to be set.
database {
  url = env("IIB_DATABASE_URL", "")
}

redis {
  url = env("IIB_REDIS_URL", "")
}

# Where results are pushed: without an address, to the registry plugin below.
registry {
  push = "{registry}/iib-build:{request_id}"
}

# A queue runs as many requests at the same time as its concurrency says. User
# blocks can send requests to queues of their own.
queue "default" {
  concurrency = 4
  timeout     = "2h"
}

# Every kind of request is a plugin: POST /api/v1/builds/add is handled here.
plugin "index-add" {
  kind = "handler"
}

plugin "index-rm" {
  kind = "handler"
}

plugin "index-merge" {
  kind = "handler"
}

plugin "index-empty" {
  kind = "handler"
}

plugin "fbc-operations" {
  kind = "handler"
}

plugin "index-diff" {
  kind = "handler"
}

plugin "add-deprecations" {
  kind = "handler"
}

plugin "regenerate-bundle" {
  kind = "handler"
}

plugin "related-bundles" {
  kind = "handler"
}

# The steps that a regenerated bundle goes through.
plugin "customizations" {
  kind = "customizer"
}

# For requests without an organization, and for organizations that have no
# block of their own.
organization "*" {
  customize "resolve_image_pullspecs" {}
  customize "related_bundles" {}
  customize "perform_bundle_replacements" {}
}

# Makes the image of each architecture by adding layers to its base. It needs
# no container runtime and no root.
plugin "image-builder" {
  kind = "builder"
}

# The registry that results are pushed to, on the address of the API. Remove it
# when registry.address above names another one.
plugin "registry" {
  kind   = "service"
  mounts = ["/v2/", "/api/v1/repository/"]
}

build {
  builder = "image-builder"
}

# Gates stop a request before anything is built, and notifiers tell others what
# becomes of it. docs/configuration.md has typical blocks of greenwave and
# amqp-notify; the README.md beside each plugin explains its settings.
