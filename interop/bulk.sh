#!/usr/bin/env bash
# Random bytes in bulk, both ways at once through one connection, and the SHA-256 of what arrived is that of what was
# sent. Each end sends its FIN after its last byte, and reads on until the FIN of the other.
# BULK_BYTES (default 1 GiB) is the size each way; buffers of 7 B and of 1 B get a 256th and a 1024th of it.
# Debian packages: socat openssl coreutils iproute2
source "$(dirname "$0")/lib.sh"
need socat openssl sha256sum=coreutils ss=iproute2

BULK_BYTES=${BULK_BYTES:-$((1 << 30))}
LIMIT=600 # seconds for one transfer: far more than it takes, so only a stall reaches it

# random KEY BYTES: prints BYTES bytes that depend on the key alone, so no file has to keep them.
random() {
  head -c "$2" /dev/zero |
    openssl enc -aes-256-ctr -nosalt -nopad -K "$(printf '%064x' "$1")" -iv "$(printf '%032x' "$1")"
}

hash_of() { sha256sum | cut -d ' ' -f 1; }

# exchange KEY BYTES SOCAT_ADDRESS: sends the stream and prints the hash of the received one.
exchange() {
  random "$1" "$2" | timeout --foreground "$LIMIT" socat -b 65536 -t "$LIMIT" STDIO "$3" | hash_of
}

# transfer BYTES [OPTION]...: exchanges BYTES each way through a proxy with these options.
transfer() {
  local bytes=$1 server_port server from_client from_server what start=$SECONDS
  shift
  what=${*:-the default buffer size}
  server_port=$(free_port)
  start_listening server "$server_port" exchange 2 "$bytes" "TCP-LISTEN:$server_port,bind=127.0.0.1"
  server=$PID
  start_proxy 127.0.0.1 "$server_port" "$@"
  exchange 1 "$bytes" "TCP:127.0.0.1:$PROXY_PORT" >"$WORK/client.out" || fail "the client failed with $what"
  wait "$server" || fail "the server failed with $what"
  stop_proxy

  from_client=$(random 1 "$bytes" | hash_of)
  from_server=$(random 2 "$bytes" | hash_of)
  [[ $from_client != "$from_server" ]] || fail "both streams are equal, so the test would not notice that they were swapped"
  same "SHA-256 of what the server got with $what" "$from_client" "$(<"$WORK/server.out")"
  same "SHA-256 of what the client got with $what" "$from_server" "$(<"$WORK/client.out")"
  grep -qw "up=$bytes down=$bytes" "$WORK/proxy.err" || fail "the proxy's log counts other than $bytes bytes with $what"
  echo "$bytes bytes each way in $((SECONDS - start)) s, hashes equal: $what"
}

transfer "$BULK_BYTES"
transfer "$BULK_BYTES" --buffer-size 4KiB
transfer $((BULK_BYTES / 256)) --buffer-size 7B
transfer $((BULK_BYTES / 1024)) --buffer-size 1B
