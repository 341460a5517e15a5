#!/usr/bin/env bash
# Makes the secrets that compose.yaml mounts, once: what is there already stays. Keep a copy of master_key elsewhere: without
# it the words in the log are gone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The folder keeps others out. The files can be read by all, as those who read them in the containers have other numbers.
mkdir -p secrets
chmod 700 secrets

# once NAME COMMAND...: the file is there as a whole or not at all.
once() {
    local file="secrets/$1"
    shift
    [[ -s "$file" ]] && return
    "$@" >"$file.new"
    chmod 444 "$file.new"
    mv "$file.new" "$file"
    echo "made deploy/$file"
}

database_url() { printf 'postgres://tidings:%s@postgres:5432/tidings\n' "$(<secrets/postgres_password)"; }

once postgres_password openssl rand -hex 24
once database_url database_url
once master_key openssl rand -hex 32
once root_api_key openssl rand -hex 32
once jwt_secret openssl rand -hex 32
once grafana_password openssl rand -hex 12
