plugin "image-builder" { kind = "builder" }
build { builder = "imagebuilder" } # ERROR: Unknown plugin
