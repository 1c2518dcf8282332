#!/usr/bin/env bash
# Names that change, with a real DNS server (dnsmasq) in a network namespace: a change between two clients is picked up,
# within a second after a failed connect; --spread takes all addresses in turn, and --wait-for-name waits for the first one; a dead
# first address costs 250 ms; a resolver that takes five seconds delays a client for a second at most, and later clients not
# at all; a server that a route leads back to the proxy is noticed; a
# stop during the first lookup ends the proxy at once.
# Debian packages: dnsmasq-base socat jq iproute2 util-linux
source "$(dirname "$0")/lib.sh"
need dnsmasq=dnsmasq-base socat jq unshare=util-linux ip=iproute2 ss=iproute2
private_network "$@"

# This namespace has two addresses, and a veth pair with no host behind it: connects to HOLE4 and HOLE6 get no answer.
HERE4=198.51.100.1 HERE6=2001:db8::1 HOLE4=198.51.100.2 HOLE6=2001:db8::2
ip link add hole type veth peer name void
ip address add "$HERE4/24" dev hole
ip address add "$HERE6/64" dev hole nodad
ip link set hole up
ip link set void up
ip neighbor add "$HOLE4" lladdr 02:00:00:00:00:02 dev hole nud permanent
ip neighbor add "$HOLE6" lladdr 02:00:00:00:00:02 dev hole nud permanent

# Resolver files of this script in place of the machine's.
: >"$WORK/hosts"
: >"$WORK/gai.conf"
echo 'hosts: files dns' >"$WORK/nsswitch.conf"
resolvers() { printf 'options timeout:5 attempts:1\n' && printf 'nameserver %s\n' "$@"; }
resolvers 127.0.0.1 >"$WORK/resolv.conf"
for file in hosts gai.conf nsswitch.conf resolv.conf; do
  [[ -e /etc/$file ]] || : >"/etc/$file"
  mount --bind "$WORK/$file" "/etc/$file"
done

# names ADDRESS...: from now on these are the addresses of server.test.
names() {
  printf '%s server.test\n' "$@" >"$WORK/dns"
  kill -HUP "$dns"
  PID=$dns # wait_until watches this process; the others may end
  wait_until "the DNS server has read it" grep_reads $((++changes))
}
grep_reads() { (($(grep -c "read $WORK/dns" "$WORK/dns.err") >= $1)); }
changes=1
printf '%s server.test\n' 127.0.0.11 >"$WORK/dns"
start dns dnsmasq --keep-in-foreground --user=root --conf-file=/dev/null --no-resolv --no-hosts --addn-hosts="$WORK/dns" \
  --local-ttl=0 --listen-address=127.0.0.1 --bind-interfaces --pid-file="$WORK/dns.pid" --log-facility=-
dns=$PID
wait_until "the DNS server listens" bash -c "[[ -n \$(ss -Hlun 'sport = :53') ]]"
wait_until "the DNS server has read its file" grep_reads 1

port=$(free_port)
serve() { # NAME ADDRESS: a server that sends its name
  local family=4 address=$2
  [[ $2 != *:* ]] || family=6 address=[$2]
  start "server-$1" socat "TCP$family-LISTEN:$port,bind=$address,fork,reuseaddr" "SYSTEM:echo $1"
  wait_until "server $1 listens" bash -c "[[ -n \$(ss -Hltn 'src $address and sport = :$port') ]]"
}
received() { timeout 30 socat -u "TCP:127.0.0.1:$PROXY_PORT" - 2>/dev/null; }
is_served_by() { [[ $(received) == "$1" ]]; }
# last FIELD: of the session that was logged last. logged N: whether N sessions were logged.
logged() { (($(jq -rs 'map(select(.message == "session ended")) | length' "$WORK/proxy.err") >= $1)); }
last() { jq -rs "map(select(.message == \"session ended\")) | last | .$1" "$WORK/proxy.err"; }
stale() { sleep 5.2; } # the proxy uses an answer of the resolver for five seconds

serve a 127.0.0.11
serve b 127.0.0.12
b=$PID
PID=$dns

echo "a change between two clients"
start_proxy server.test "$port" --log-format json
is_served_by a || fail "the first client is not served by a"
names 127.0.0.12
wait_until "clients are served by b" is_served_by b

echo "a server that is gone, and has another address"
stale
is_served_by b || fail "b has gone"
stop "$b"
names 127.0.0.11
same "bytes for the client of a server that is gone" "" "$(received)"
sleep 1 # there is one lookup a second at most
same "the server of the next client" a "$(received)"
stop_proxy

echo "all addresses of a name"
serve c 127.0.0.13
serve d 127.0.0.14
names 127.0.0.11 127.0.0.13 127.0.0.14
start_proxy server.test "$port" --spread
same "the servers of six clients" "a a c c d d" "$(for _ in {1..6}; do received; done | sort | tr '\n' ' ' | sed 's/ $//')"
stop_proxy

echo "a name that cannot be resolved yet"
start_proxy later.test "$port" --wait-for-name
received >"$WORK/received.early" &
early=$!
sleep 0.5 # it waits
[[ ! -s $WORK/received.early ]] || fail "a client was served without an address"
echo '127.0.0.13 later.test' >>"$WORK/dns"
kill -HUP "$dns"
PID=$dns
wait_until "the DNS server has read it" grep_reads $((++changes))
wait "$early"
same "the server of the client that waited" c "$(<"$WORK/received.early")"
stop_proxy

echo "a first address that is dead, of either family"
serve v4 "$HERE4"
serve v6 "$HERE6"
PID=$dns
for dead in "$HOLE6 $HERE4 v4" "$HOLE4 $HERE6 v6"; do
  read -r first second who <<<"$dead"
  # IPv6 comes first by default (RFC 6724).
  if [[ $who == v4 ]]; then : >"$WORK/gai.conf"; else echo 'precedence ::ffff:0:0/96 100' >"$WORK/gai.conf"; fi
  names "$first" "$second"
  start_proxy server.test "$port" --log-format json
  same "the server that answers" "$who" "$(received)"
  wait_until "the session is logged" logged 1
  jq -es 'map(select(.message == "session ended")) | last | .connect_ms >= 250 and .connect_ms < 900' \
    "$WORK/proxy.err" >"$WORK/judged" || fail "it took $(last connect_ms) ms to find $who"
  echo "$who beside a dead address: $(last connect_ms) ms"
  stop_proxy
done
: >"$WORK/gai.conf"

echo "a resolver that takes five seconds"
# The first resolver never answers; after five seconds the C library asks the second one.
start mute socat -u UDP4-RECV:53,bind=127.0.0.53 OPEN:/dev/null
wait_until "the mute resolver listens" bash -c "[[ -n \$(ss -Hlun 'src 127.0.0.53') ]]"
names 127.0.0.11
for places in 1 8; do
  resolvers 127.0.0.1 >"$WORK/resolv.conf"
  serve "b$places" 127.0.0.12
  b=$PID
  start_proxy server.test "$port" --log-format json --max-clients "$places"
  is_served_by a || fail "the first client is not served by a"
  resolvers 127.0.0.53 127.0.0.1 >"$WORK/resolv.conf"
  names 127.0.0.12 # the proxy learns of it late
  stale
  clients=()
  for i in {1..4}; do
    received >"$WORK/received.$i" &
    clients+=("$!")
  done
  wait "${clients[@]}"
  wait_until "four more sessions are logged" logged 5
  times=$(jq -cs 'map(select(.message == "session ended") | .connect_ms) | .[1:] | sort' "$WORK/proxy.err")
  echo "with $places at once, the clients of a slow resolver reached their server after: $times ms"
  jq -en "$times | .[3] < 2500 and .[2] < 500" >"$WORK/judged" || fail "clients were delayed: $times"
  sleep 5 # until the slow lookup has its answer
  wait_until "a later client is served by b" is_served_by "b$places"
  stop_proxy
  stop "$b"
  names 127.0.0.11
done
echo "a name that leads back to the proxy itself"
resolvers 127.0.0.1 >"$WORK/resolv.conf"
names 127.0.0.11
start proxy "$TCPPROXY" server.test "$port" "$port" --bind 127.0.0.12 --log-format json
PROXY_PID=$PID PROXY_PORT=$port
wait_until "the proxy listens" grep -q '^listening on ' "$WORK/proxy.out"
same "the server" a "$(timeout 30 socat -u "TCP:127.0.0.12:$port" - 2>/dev/null)"
names 127.0.0.12
PID=$PROXY_PID
stale
for _ in 1 2 3; do timeout 30 socat -u "TCP:127.0.0.12:$port" - 2>/dev/null || true; done
wait_until "the sessions are logged" logged 4
same "why they ended" "proxy connect loop" "$(last 'by') $(last 'phase') $(last 'reason')"
same "the number of sessions" 4 "$(jq -rs 'map(select(.message == "session ended")) | length' "$WORK/proxy.err")"
same "the number of warnings" 1 "$(grep -c 'not connecting to itself' "$WORK/proxy.err")"
names 127.0.0.11
PID=$PROXY_PID
stale
same "the server, once the name is right again" a "$(timeout 30 socat -u "TCP:127.0.0.12:$port" - 2>/dev/null)"
stop_proxy
echo "an address that a route leads back to the proxy"
ip route add local 203.0.113.0/24 dev lo src 127.0.0.1
for options in '1' '8' '8 --keepalive 0s'; do
  port=$((port + 1))
  read -ra options <<<"$options"
  most=${options[0]}
  start proxy "$TCPPROXY" 203.0.113.1 "$port" "$port" --log-format json --max-clients "${options[@]}"
  PROXY_PID=$PID PROXY_PORT=$port
  wait_until "the proxy listens" grep -q '^listening on ' "$WORK/proxy.out"
  for sessions in "$most" $((2 * most)); do
    timeout 30 socat -u "TCP:127.0.0.1:$port" - 2>/dev/null || true
    wait_until "the sessions are logged" logged "$sessions"
  done
  jq -es 'map(select(.message == "session ended" and .reason == "loop")) | length > 0' "$WORK/proxy.err" >"$WORK/judged" ||
    fail "no session ended for the loop"
  same "the number of warnings" 1 "$(grep -c 'leads back to this proxy; resetting' "$WORK/proxy.err")"
  stop_proxy
done
echo "a stop during the first lookup, also of PID 1"
resolvers 127.0.0.53 >"$WORK/resolv.conf" # which never answers
for first in false true; do
  if $first; then
    start asking unshare --pid --fork --kill-child "$TCPPROXY" server.test "$port" 0
    wait_until "the proxy runs" bash -c "pgrep -P $PID >/dev/null"
    asking=$(pgrep -P "$PID")
  else
    start asking "$TCPPROXY" server.test "$port" 0
    asking=$PID
  fi
  wait_until "the lookup has begun" bash -c "[[ -n \$(ss -Hunp 'dst 127.0.0.53' | grep -w pid=$asking) ]]"
  kill -TERM "$asking"
  gone_within 2 "$asking" || fail "a stop during the first lookup takes long; as PID 1: $first"
  status=0
  wait "$PID" || status=$?
  same "the exit status after a stop during the first lookup; as PID 1: $first" 0 "$status"
done
echo "names change, and no client is delayed for long"
