# ENV: IIB_LISTEN=127.0.0.1:0
# ENV: IIB_DATA_DIR=/srv/iib
# ENV: IIB_REDIS_URL=
server {
  listen   = ":9999"
  data_dir = "elsewhere"
}
database { url = "sqlite:requests.db" }
redis { url = env("IIB_REDIS_URL") } # empty is the same as none
secrets { key_file = "keys/current" }
