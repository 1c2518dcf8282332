#!/usr/bin/env bash
# iperf3 through the proxy: to the server, from it (-R) and both at once (--bidir), with parallel streams.
# IPERF_SECONDS (default 3) is the duration of each transfer. The figures are for information; only errors fail.
# Debian packages: iperf3 jq iproute2
source "$(dirname "$0")/lib.sh"
need iperf3 jq ss=iproute2

server_port=$(free_port)
start_listening iperf3 "$server_port" iperf3 --server --bind 127.0.0.1 --port "$server_port"
# iperf3 opens a control connection beside those of the streams.
start_proxy 127.0.0.1 "$server_port" --max-clients 0

# measure NAME OPTION...: the result must be without error, and every stream must have moved bytes.
measure() {
  local json=$WORK/$1.json
  within 120 iperf3 --client 127.0.0.1 --port "$PROXY_PORT" --json --time "${IPERF_SECONDS:-3}" --parallel 4 \
    "${@:2}" >"$json" || fail "$1: $(jq -r '.error' "$json")"
  jq -e '.error == null' "$json" >"$WORK/jq.out" || fail "$1: $(jq -r '.error' "$json")"
  jq -e '.end.streams | length >= 4 and all(.sender.bytes > 0 and .receiver.bytes > 0)' "$json" >"$WORK/jq.out" ||
    fail "$1: a stream has moved nothing: $(jq -c '.end.streams' "$json")"
  jq -r --arg name "$1" '.end | [.sum_received, .sum_received_bidir_reverse | values | .bits_per_second / 8e6 | round]
    | "\($name): \(map("\(.) MB/s") | join(" and "))"' "$json"
}

measure forward
measure reverse --reverse
measure both --bidir
! grep -i error "$WORK/iperf3.out" "$WORK/iperf3.err" || fail "the server met an error"
stop_proxy
