#!/usr/bin/env bash
# systemd-socket-activate starts the proxy for the first client and passes it two sockets. The first client and
# later ones are served through either socket. The proxy ends when it has been without a session for a while.
# Debian packages: systemd curl iproute2
source "$(dirname "$0")/../../interop/lib.sh"
need systemd-socket-activate=systemd curl ss=iproute2

start_origin --http 1.1
curl -sS --fail --noproxy '*' "http://127.0.0.1:$ORIGIN_PORT/large?bytes=3000000" -o "$WORK/expected"

ports=("$(free_port)" "$(free_port)")
start activated systemd-socket-activate --listen "127.0.0.1:${ports[0]}" --listen "127.0.0.1:${ports[1]}" \
  "$TCPPROXY" 127.0.0.1 "$ORIGIN_PORT" - --max-clients 0 --exit-on-idle 2s
activated=$PID
wait_until "the sockets listen" listening "${ports[1]}"
same "what was started before there is a client" "" "$(cat "$WORK/activated.out")"

for port in "${ports[1]}" "${ports[0]}" "${ports[1]}"; do
  within 20 curl -sS --fail --noproxy '*' "http://127.0.0.1:$port/large?bytes=3000000" -o "$WORK/got"
  same_file "$WORK/expected" "$WORK/got"
done
for port in "${ports[@]}"; do
  grep -qxF "listening on 127.0.0.1:$port, forwarding to 127.0.0.1:$ORIGIN_PORT" "$WORK/activated.out" ||
    fail "port $port was not announced"
done

gone_within 20 "$activated" || fail "it does not end although it has no session"
status=0
wait "$activated" || status=$?
same "its status" 0 "$status"
grep -q 'stopping sessions=0' "$WORK/activated.err" || fail "it does not say that it leaves"
echo "three clients of two sockets were served, and it left by itself"
