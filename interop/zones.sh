#!/usr/bin/env bash
# Link-local addresses, with their zone by name and by number, with and without brackets, in --bind, --metrics and remote_host:
# the proxy is reached and reaches the server, and the log shows the zones. Without a zone, or with one that does not exist, the
# start fails with a reason.
# Debian packages: socat curl jq iproute2 util-linux
source "$(dirname "$0")/lib.sh"
need socat curl jq unshare=util-linux ip=iproute2 ss=iproute2
private_network "$@"

ip link add near type veth peer name far
for link in near far; do
  ip link set "$link" addrgenmode none
  ip link set "$link" up
done
ip address add fe80::1/64 dev near nodad
number=$(ip -o link show near | cut -d: -f1)

port=$(free_port)
start_listening server "$port" socat "TCP6-LISTEN:$port,fork,reuseaddr" PIPE
for zone in near "$number"; do
  for address in "fe80::1%$zone" "[fe80::1%$zone]"; do
    start_proxy "$address" "$port" --bind "$address" --metrics "[fe80::1%$zone]:0" --log-format json
    metrics=$(sed -n 's|^metrics on \(.*\)$|\1|p' "$WORK/proxy.out")
    same "the echo" hello "$(echo hello | within 30 socat - "TCP6:[fe80::1%near]:$PROXY_PORT")"
    # In a URL the percent sign is encoded (RFC 6874).
    within 30 curl -sS --fail --noproxy '*' -o "$WORK/metrics" "${metrics/\%/%25}"
    grep -q '^tcpproxy_sessions_total{by="client",phase="data",reason="fin"} 1' "$WORK/metrics" || fail "no session was counted"
    same "the zones in the log" "%$number %$number" \
      "$(jq -Rr 'fromjson? | select(.reason) | [.client, .server] | map(capture("^\\[fe80::1(?<zone>%[0-9]+)\\]:").zone) | join(" ")' "$WORK/proxy.err")"
    stop_proxy
  done
done
echo "reached by name and number of the zone"

refused() {
  local status=0
  "$TCPPROXY" "$@" >"$WORK/refused.out" 2>&1 </dev/null || status=$?
  ((status > 0)) || fail "it starts with $*"
  head -n 1 "$WORK/refused.out"
}
for address in fe80::1%none '[fe80::1%none]'; do
  refused "$address" "$port" 0
  refused localhost "$port" 0 --bind "$address"
  refused localhost "$port" 0 --metrics "[fe80::1%none]:0"
done
refused localhost "$port" 0 --bind fe80::1
