#!/usr/bin/env bash
# The examples of the crate relay with real programs: curl through `socks5` and `limit`, curl and openssl through `sni`.
# Debian packages: curl openssl
source "$(dirname "$0")/lib.sh"
need curl openssl

cd "$(dirname "$0")/.."
cargo test --locked -p relay --features real-clients --test examples real_clients
