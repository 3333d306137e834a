listen = ":8080" # ERROR: Unknown setting
severs {} # ERROR: Unknown block
server {
  max_bodi = "1MiB"     # ERROR: Unknown setting
  completely = "other"  # ERROR: Unknown setting
  tls = {}              # ERROR: Unknown setting
  listen {}             # ERROR: Unknown block
  tsl {}                # ERROR: Unknown block
}
server {}               # ERROR: Duplicate block
database "main" {}      # ERROR: Wrong labels
identity {}             # ERROR: Wrong labels
identity "headr" {}     # ERROR: Unknown identity method
identity "header" {}    # ERROR: Missing setting
identity "none" {}
identity "none" {}      # ERROR: Duplicate block
queue {}                # ERROR: Wrong labels
queue "a" "b" {}        # ERROR: Wrong labels
queue "q" {}
queue "q" {}            # ERROR: Duplicate block
queue "not a name" {}   # ERROR: Invalid name
user "jane" {
  queue           = "qq"        # ERROR: Unknown queue
  overwrite_queue = "defualt"   # ERROR: Unknown queue
  index "quay.io/x:1" { queue = "nothing like it" } # ERROR: Unknown queue
  index "quay.io/x:1" {}        # ERROR: Duplicate block
  index "quay.io/x y" {}        # ERROR: Invalid pull spec
}
user "" {}                      # ERROR: Invalid user name
plugin "a" {                    # ERROR: Missing setting
  requests = ["add"]
}
plugin "a" { kind = handler }   # ERROR: Unknown name # ERROR: Duplicate block
plugin "config-twice" {
  kind = "gate"
  config {}
  config {}                     # ERROR: Duplicate block
}
organization "o" {}             # ERROR: Missing block
