# A syntax error does not hide what is wrong in other blocks.
server {
  listen = ":8080" oops # ERROR: Missing line break
  max_bodi = 1
}
queue "a" {
  concurrency = 0 # ERROR: Value out of range
}
queue "b" { concurrency = 1 timeout = "1h" } # ERROR: Crowded block
plugin "x" {
  kind = "gaet" # ERROR: Unknown kind
}
api {
  max_wait = "unfinished # ERROR: Unfinished text
}
plugin "y { # ERROR: Unfinished text
  kind = "gate"
}
plugin "z" {
  kind = "kate" # ERROR: Unknown kind
}
user "a" { queue = "unfinished # ERROR: Unfinished text
}
} # ERROR: Misplaced text
"quoted" = 1 # ERROR: Quoted name
api {
  page_size = 1
  page_size = 2 # ERROR: Duplicate setting
}
organization "x" { customize "y" { a = 1 } } # ERROR: Crowded block
