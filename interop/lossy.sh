#!/usr/bin/env bash
# A network that loses packets, each way LOSS percent (default 5), between the proxy and the peers that receive. A server
# sends 150,000 bytes and resets, or finishes and resets; then clients do what the server did. Of CLIENTS (default 40)
# sessions each delivers all bytes before it ends, and the log has the same number.
# Debian packages: python3 jq iproute2 util-linux
source "$(dirname "$0")/lib.sh"
need python3 jq unshare=util-linux nsenter=util-linux ip=iproute2 ss=iproute2
[[ -c /dev/net/tun ]] || fail "no /dev/net/tun: the kernel module tun is needed"
private_network "$@"

LOSS=${LOSS:-5}
CLIENTS=${CLIENTS:-40}
lossy() { python3 "$REPO/interop/lossy.py" "$@"; }

# The proxy and the senders are here, the receivers in another network namespace.
start far unshare --net sleep 600
far=$PID
away() { nsenter --target "$far" --net -- "$@"; }
differs() { [[ $(readlink "/proc/$far/ns/net") != "$(readlink /proc/self/ns/net)" ]]; }
wait_until "there is another network" differs
start link lossy link "$LOSS"
wait_until "the TUN devices are there" grep -q ready "$WORK/link.out"
ip link set far netns "$far"
ip address add 192.0.2.1/24 dev near
ip link set near up
away ip address add 192.0.2.2/24 dev far
away ip link set far up
away ip link set lo up

# What the kernel here has sent again (RFC 2012).
retransmitted() { awk '$1 == "Tcp:" && $2 ~ /[0-9]/ { print $13 }' /proc/net/snmp; }

# carried NAME WORDS: how sessions ended and what they carried, in the log of the proxy.
carried() {
  jq -r --arg way "$1" 'select(.message == "session ended") | "\(.by) \(.phase) \(.reason) \($way)=\(.[$way])"' \
    "$WORK/proxy.err" | sort | uniq -c | sed 's/^ *//'
}
all_logged() { (($(grep -c 'session ended' "$WORK/proxy.err") == CLIENTS)); }

# judge NAME WAY OUTCOME LOGGED: after the peers have ended.
judge() {
  PID=$PROXY_PID
  wait_until "all sessions are logged" all_logged
  echo "$1: $(<"$WORK/receivers.out"); log: $(carried "$2")"
  same "what was received ($1)" "$CLIENTS have $3" "$(<"$WORK/receivers.out")"
  same "the log ($1)" "$CLIENTS $4 $2=150000" "$(carried "$2")"
  stop_proxy
}

for end in send send-fin; do
  port=$(free_port)
  start_listening senders "$port" lossy listen $end 127.0.0.1 "$port" "$CLIENTS"
  start_proxy 127.0.0.1 "$port" --max-clients 0 --log-format json
  within 60 nsenter --target "$far" --net -- python3 "$REPO/interop/lossy.py" connect receive 192.0.2.1 "$PROXY_PORT" \
    "$CLIENTS" >"$WORK/receivers.out"
  if [[ $end == send ]]; then
    judge "the server resets" down "150000 bytes, then RST" "server data reset"
  else
    judge "the server finishes and resets" down "150000 bytes, FIN, then RST" "server drain reset"
  fi
done

port=$(free_port)
start receivers nsenter --target "$far" --net -- python3 "$REPO/interop/lossy.py" listen receive 192.0.2.2 "$port" "$CLIENTS"
receivers=$PID
wait_until "the receivers listen" away bash -c "[[ -n \$(ss -Hltn 'sport = :$port') ]]"
start_proxy 192.0.2.2 "$port" --max-clients 0 --log-format json
within 60 python3 "$REPO/interop/lossy.py" connect send 127.0.0.1 "$PROXY_PORT" "$CLIENTS"
gone_within 60 "$receivers" || fail "a server received no end"
judge "the clients reset" up "150000 bytes, then RST" "client data reset"

(($(retransmitted) > 0)) || fail "no packet was lost"
echo "3 x $CLIENTS sessions over a network that loses $LOSS % of its packets: every byte came, $(retransmitted) packets were sent again"
