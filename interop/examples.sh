#!/usr/bin/env bash
# The examples of the crate relay with real programs: curl through `socks5` and `limit`, curl and openssl through `sni`.
# Debian packages: curl openssl
source "$(dirname "$0")/lib.sh"
need curl openssl

cd "$(dirname "$0")/.."
# As a part of the workspace and without a release's flags, so that what `make test` has built is used.
unset CARGO_ENCODED_RUSTFLAGS
options=(--locked --workspace --features "tcpproxy/manual,relay/real-clients")
cargo build "${options[@]}" --example socks5 --example limit --example sni
cargo test "${options[@]}" --test examples real_clients
