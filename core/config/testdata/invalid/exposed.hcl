server { listen = ":8080" }
identity "header" { from = ["10.0.0.1/32"] }
identity "none" {} # WARNING: Open to everybody
