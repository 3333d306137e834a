plugin "gate" { kind = "gate" }
plugin "steps" { kind = "customizer" }
organization "x" {
  customize "a" { plugin = "gate" }  # ERROR: Unusable customizer
  customize "b" { plugin = "stebs" } # ERROR: Unknown plugin
  customize "c" { plugin = "steps" }
}
