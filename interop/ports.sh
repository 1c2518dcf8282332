#!/usr/bin/env bash
# No local port left towards the server: a client waits until one is free, and is reset, as `proxy connect exhausted`, when
# none was for the time of --connect-timeout. Another address of the server is tried at once, and a machine without IPv6
# loses no time over an address that it cannot reach.
# Debian packages: socat jq iproute2 util-linux
source "$(dirname "$0")/lib.sh"
need socat jq unshare=util-linux ip=iproute2 ss=iproute2
private_network "$@"

# Eight ports for outgoing connections of the whole network namespace; the clients here choose their own below.
echo '40000 40007' >/proc/sys/net/ipv4/ip_local_port_range
server_port=21000
for server in 127.0.0.11 127.0.0.12; do
  start "server-$server" socat "TCP-LISTEN:$server_port,bind=$server,fork,reuseaddr" EXEC:cat
  wait_until "$server listens" bash -c "[[ -n \$(ss -Hltn 'src $server and sport = :$server_port') ]]"
done
# Both addresses in one name.
printf '127.0.0.11 two.test\n127.0.0.12 two.test\n::1 six.test\n127.0.0.11 six.test\n' >"$WORK/hosts"
mount --bind "$WORK/hosts" /etc/hosts

occupy() { # SERVER: takes each local port towards it
  for i in {0..7}; do
    start "holder-$1-$i" socat -u EXEC:'sleep 600' "TCP:$1:$server_port,linger=0"
    HOLDERS+=("$PID")
  done
  wait_until "the ports are taken" bash -c "(( \$(ss -Htn state established 'dst $1 and dport = :$server_port' | wc -l) == 8 ))"
}
PROXY_PORT=21001 # not one that the system chooses
serve() { # SERVER [OPTION]...
  start proxy "$TCPPROXY" "$1" "$server_port" "$PROXY_PORT" --log-format json "${@:2}"
  PROXY_PID=$PID
  wait_until "the proxy listens" grep -q '^listening on ' "$WORK/proxy.out"
}
next=30000
ask() { # what the server sends back; nothing if the client is reset
  next=$((next + 1))
  echo hello | timeout 30 socat -t 20 - "TCP:127.0.0.1:$PROXY_PORT,sourceport=$next,reuseaddr" 2>/dev/null || true
}
last() { jq -rs 'map(select(.message == "session ended")) | last | "\(.by) \(.phase) \(.reason)"' "$WORK/proxy.err"; }

HOLDERS=()
occupy 127.0.0.11
echo "no port for all of the time"
serve 127.0.0.11 --connect-timeout 1s
same "the answer" "" "$(ask)"
same "why the session ended" "proxy connect exhausted" "$(last)"
stop_proxy

echo "another address"
serve two.test --connect-timeout 5s
same "the answer" hello "$(ask)"
same "the server" "127.0.0.12:$server_port" "$(jq -rs 'map(select(.message == "session ended")) | last | .server' "$WORK/proxy.err")"
stop_proxy

echo "a port that becomes free in time"
serve 127.0.0.11 --connect-timeout 30s
ask >"$WORK/answer" &
asking=$!
PID=$PROXY_PID
accepted() { [[ -n $(ss -Htn "( sport = :$PROXY_PORT )") ]]; }
wait_until "the client is accepted" accepted
stop "${HOLDERS[0]}"
wait "$asking"
same "the answer" hello "$(<"$WORK/answer")"
stop_proxy

echo "a machine without IPv6"
for holder in "${HOLDERS[@]}"; do stop "$holder"; done
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
serve six.test --connect-timeout 5s
same "the answer" hello "$(ask)"
jq -es 'map(select(.message == "session ended")) | last | .connect_ms < 100' "$WORK/proxy.err" >"$WORK/judged" ||
  fail "an address that cannot be reached costs $(jq .connect_ms "$WORK/proxy.err") ms"
stop_proxy
echo "local ports run out, and clients are served once there is one"
