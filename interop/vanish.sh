#!/usr/bin/env bash
# Peers that vanish while data is in flight, up, down and both ways, or while they are idle: each session ends as `dead`
# within twice the keepalive time. A live client that reads nothing for several times as long, and one that is idle, live on.
# Debian packages: socat jq iproute2 util-linux
source "$(dirname "$0")/lib.sh"
need socat jq unshare=util-linux nsenter=util-linux ip=iproute2 ss=iproute2
private_network "$@"

# The proxy is here; its peers are here and in another network namespace, behind a veth pair that says nothing when it is cut.
far_network
ip neighbor add 192.0.2.2 lladdr 02:00:00:00:00:02 dev near nud permanent
away ip neighbor add 192.0.2.1 lladdr 02:00:00:00:00:01 dev far nud permanent

KEEPALIVE=6
# serve NAME HOST PORT: a proxy with a log of its own. Sets PROXY_PORT.
serve() {
  start "$1" "$TCPPROXY" "$2" "$3" 0 --log-format json --keepalive "${KEEPALIVE}s"
  wait_until "$1 listens" grep -q '^listening on ' "$WORK/$1.out"
  PROXY_PORT=$(sed -E '1s/^listening on .*:([0-9]+), forwarding to .*/\1/; q' "$WORK/$1.out")
}
ended() { jq -r 'select(.message == "session ended") | "\(.by) \(.phase) \(.reason)"' "$WORK/$1.err"; }
carries() { (($(bytes "$1") > $2)); }
bytes() { stat -c %s "$WORK/$1.out"; }

# Servers that send, that receive, that do both, and that are silent; here and far away.
sends=$(free_port) receives=$((sends + 1)) both=$((sends + 2)) silent=$((sends + 3))
for where in env away; do
  start "sends-$where" $where socat -u OPEN:/dev/zero "TCP-LISTEN:$sends,fork,reuseaddr"
  start "receives-$where" $where socat -u "TCP-LISTEN:$receives,fork,reuseaddr" OPEN:/dev/null,wronly
  start "both-$where" $where socat "TCP-LISTEN:$both,fork,reuseaddr" 'OPEN:/dev/zero!!OPEN:/dev/null,wronly'
  start "silent-$where" $where socat -u "TCP-LISTEN:$silent,fork,reuseaddr" OPEN:/dev/null,wronly
  for port in $sends $receives $both $silent; do
    wait_until "port $port is listened on" $where bash -c "[[ -n \$(ss -Hltn 'sport = :$port') ]]"
  done
done

# A client that does what its server does not.
client() { # NAME WHERE ADDRESS KIND
  local to=TCP:$3:$PROXY_PORT
  case $4 in
  sends) start "$1" "$2" socat -u "$to" OPEN:/dev/null,wronly ;;
  receives) start "$1" "$2" socat -u OPEN:/dev/zero "$to" ;;
  both) start "$1" "$2" socat "$to" 'OPEN:/dev/zero!!OPEN:/dev/null,wronly' ;;
  silent) start "$1" "$2" socat -u EXEC:'sleep 600' "$to" ;;
  esac
}

# Those that live on: a client that does not read, and one that is idle.
serve paused 127.0.0.1 "$sends"
# shellcheck disable=SC2016 # the inner shell expands it
start pauses bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0"; sleep 25; head -c 30000000 <&3 | wc -c; sleep 600' "$PROXY_PORT"
serve idle 127.0.0.1 "$silent"
client idles env 127.0.0.1 silent
paused_since=$SECONDS

names=()
for kind in sends receives both silent; do
  serve "client-$kind" 127.0.0.1 "${!kind}"
  client "c-$kind" away 192.0.2.1 $kind
  serve "server-$kind" 192.0.2.2 "${!kind}"
  client "s-$kind" env 127.0.0.1 $kind
  names+=("client-$kind" "server-$kind")
done
established() { (($(ss -Htn state established "( sport = :$1 )" | wc -l) >= 1)); }
for name in "${names[@]}"; do
  port=$(sed -E '1s/.*:([0-9]+), forwarding to .*/\1/; q' "$WORK/$name.out")
  wait_until "$name has its client" established "$port"
done
sleep 1 # the traffic is under way

ip link set near down
ip link set near up
away ip link set far down
cut=$SECONDS
PID=$far
for name in "${names[@]}"; do
  logged() { [[ -n $(ended "$name") ]]; }
  wait_until "the session of $name is logged" logged
  echo "$name: $(ended "$name") after $((SECONDS - cut)) s at the latest"
  same "by, phase and reason of $name" "${name%%-*} data dead" "$(ended "$name")"
done
((SECONDS - cut <= 2 * KEEPALIVE + 3)) || fail "the last one ended after $((SECONDS - cut)) seconds"

while ((SECONDS - paused_since < 26)); do sleep 1; done
reads() { [[ $(<"$WORK/pauses.out") == 30000000 ]]; }
PID=$far
wait_until "the client that paused reads on" reads
same "the paused session" "" "$(ended paused)"
same "the idle session" "" "$(ended idle)"
echo "eight peers vanished, and each session ended; a paused client and an idle one live on"
