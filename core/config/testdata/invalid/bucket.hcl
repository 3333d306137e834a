# Both keys or none.
artifacts {
  s3 {
    bucket     = "iib-files"
    region     = "eu-central-1"
    endpoint   = "s3.example.com" # ERROR: Invalid URL
    secret_key = "s" # ERROR: Half a key
  }
}
