plugin "gate" { kind = "gate" }
plugin "off" {
  kind    = "builder"
  enabled = false
}
plugin "on" { kind = "builder" }
build { builder = "off" } # ERROR: Unusable builder
