#!/usr/bin/env bash
# The log when the network goes away: connections whose probes are not answered end as `dead`, whichever peer is lost and
# in whichever phase. jq reads the lines one by one, as they come.
# Debian packages: socat jq iproute2 util-linux
source "$(dirname "$0")/lib.sh"
need socat jq unshare=util-linux nsenter=util-linux ip=iproute2 ss=iproute2
private_network "$@"

# The proxy is here; one of its peers is in another network namespace, behind a veth pair.
far_network
# A connect to the hole, another veth pair with no host behind it, gets no answer.
ip link add hole type veth peer name void netns "$far"
ip address add 198.51.100.1/24 dev hole
ip link set hole up
away ip link set void up
ip neighbor add 198.51.100.2 lladdr 02:00:00:00:00:02 dev hole nud permanent

# serve NAME HOST PORT [OPTION]...: a proxy whose log goes through jq. Sets PROXY_PORT.
# shellcheck disable=SC2016 # the inner shell expands it
serve() {
  local name=$1 host=$2 port=$3
  shift 3
  start "$name" bash -c '"$0" "$@" --log-format json --keepalive 1s 2>&1 >"'"$WORK/$name.port"'" |
    jq --unbuffered -r '\''select(.message == "session ended") | "\(.by) \(.phase) \(.reason) \(.up) \(.down) \(.error)"'\' \
    "$TCPPROXY" "$host" "$port" 0 "$@"
  wait_until "$name listens" grep -sq '^listening on ' "$WORK/$name.port"
  PROXY_PORT=$(sed -E '1s/^listening on .*:([0-9]+), forwarding to .*/\1/; q' "$WORK/$name.port")
}

# A server that answers once and stays, here and far away; and a client that asks once and stays (or finishes).
server_port=$(free_port)
server() { "$@" socat -t 600 "TCP-LISTEN:$server_port,fork,reuseaddr" 'SYSTEM:head -c 8 >&2; echo answer; sleep 600'; }
start near-server server env
wait_until "a server listens here" listening "$server_port"
start far-server server away
wait_until "a server listens there" away bash -c "[[ -n \$(ss -Hltn 'sport = :$server_port') ]]"
client() { # NAME ADDRESS COMMAND...: asks there, by this command
  local name=$1 address=$2
  shift 2
  start "$name" bash -c "{ printf question; $1; } | ${*:2} socat -t 600 STDIO TCP:$address:$PROXY_PORT"
}
there="nsenter --target $far --net --"
stays='sleep 600'
finishes=:
answered() { grep -q answer "$WORK/$1.out"; }

serve client-header 192.0.2.1 "$server_port" --accept-proxy-protocol
header_port=$PROXY_PORT
serve client-connect 198.51.100.2 80 --connect-timeout 60s
client client-2 192.0.2.1 "$stays" "$there"
serve client-data 192.0.2.1 "$server_port"
client client-3 192.0.2.1 "$stays" "$there"
wait_until "client 3 is served" answered client-3
serve client-drain 192.0.2.1 "$server_port"
client client-4 192.0.2.1 "$finishes" "$there"
wait_until "client 4 is served" answered client-4
serve server-data 192.0.2.2 "$server_port"
client client-5 127.0.0.1 "$stays"
wait_until "client 5 is served" answered client-5
serve server-drain 192.0.2.2 "$server_port"
client client-6 127.0.0.1 "$finishes"
wait_until "client 6 is served" answered client-6
# The last one, because the proxy waits only ten seconds for its header.
start client-1 away socat -u "EXEC:sleep 600" "TCP:192.0.2.1:$header_port"
established() { [[ $(ss -Htn state established "sport = :$1" | wc -l) == 1 ]]; }
for name in client-header client-connect; do
  wait_until "$name has its client" established "$(sed -E '1s/.*:([0-9]+), forwarding to .*/\1/; q' "$WORK/$name.port")"
done

away ip link set far down # the connection breaks without FIN or RST
PID=$far # wait_until watches this process; the clients may end

for name in client-header client-connect client-data client-drain server-data server-drain; do
  logged() { [[ -s $WORK/$name.out ]]; }
  wait_until "the session of $name is logged" logged
  read -r by phase how up down error <"$WORK/$name.out"
  same "by, phase and reason of $name" "${name/-/ } dead" "$by $phase $how"
  bytes="8 7"
  [[ $name != client-header && $name != client-connect ]] || bytes="0 0"
  same "the bytes of $name" "$bytes" "$up $down"
  [[ $error != null ]] || fail "$name: the error says nothing"
  echo "$name: $error"
done
echo "six peers vanished, and the log says which"
