# ENV: SECRET=hunter2-canary
locals {
  a     = local.b
  b     = "${local.a}!"             # ERROR: Circular local
  self  = [local.self]            # ERROR: Circular local
  whole = local                   # ERROR: Invalid reference
  typo  = local.wohle             # ERROR: Unknown local
  fine  = "fine"
  map   = { one = "1" }
  after = local.a
}
locals {
  fine = "again" # ERROR: Duplicate local
  inner {}       # ERROR: Unknown block
}
locals "x" {}    # ERROR: Wrong labels
server {
  listen       = evn("X")                # ERROR: Unknown function
  data_dir     = locals.fine             # ERROR: Unknown name
  plugin_dir   = "${lcoal.fine}/plugins" # ERROR: Unknown name
  max_body     = local.map.two           # ERROR: Unknown key
  external_url = "https://${env("NOT_SET")}/" # ERROR: Missing value
  log_level    = local.a                 # not reported again
  log_format   = env("A", "b", "c")      # ERROR: Invalid function argument
}
database { url = file("no such file") }  # ERROR: Invalid function argument
redis { url = file("/dev/zero") }        # ERROR: Invalid function argument
secrets {
  key = local.map[env("SECRET")]         # ERROR: Invalid index
}
registry {
  address = 1 + env("SECRET")            # ERROR: Invalid operand
  push    = join(",", "not a list")      # ERROR: Invalid function argument
}
plugin "p" {
  kind = "gate"
  config {
    anything = local.nothing             # ERROR: Unknown local
    nested {
      word = unquoted                    # ERROR: Unknown name
    }
  }
}
