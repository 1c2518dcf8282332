#!/usr/bin/env bash
# HAProxy, with the configuration of deploy/haproxy, in front of three instances under load. Each is stopped with
# SIGTERM while it has long sessions, and started again: no session may be lost. Then one is killed: only those may be
# lost that it had. The log of the balancer tells, and so do the clients.
# Debian packages: haproxy curl socat jq iproute2
source "$(dirname "$0")/../../interop/lib.sh"
need haproxy curl socat jq ss=iproute2

NAMES=(one two three)
declare -A port metrics pid

# On any ports at first, and later on those that the balancer knows.
start_instance() {
  start "$1" "$TCPPROXY" 127.0.0.1 "$ORIGIN_PORT" "${port[$1]-0}" --bind 127.0.0.1 --max-clients 0 \
    --accept-proxy-protocol --metrics "127.0.0.1:${metrics[$1]-0}" --drain-timeout 5m --log-format json
  pid[$1]=$PID
  wait_until "$1 listens" grep -q '^metrics on ' "$WORK/$1.out"
  port[$1]=$(sed -En 's/^listening on .*:([0-9]+), .*/\1/p' "$WORK/$1.out")
  metrics[$1]=$(sed -En 's|^metrics on .*:([0-9]+)/metrics$|\1|p' "$WORK/$1.out")
}

ask() { echo "$1" | socat - "unix-connect:$WORK/admin.sock"; }
state_is() { [[ $(ask 'show stat' | awk -F, -v name="$1" '$1 == "instances" && $2 == name { print $18 }') == "$2"* ]]; }

# The clients' address is not the balancer's.
get() { curl -sS --fail --noproxy '*' --interface 127.0.0.2 --max-time 250 "$@"; }

# Short sessions, one after the other, until the file is there: writes how many were served, and each failure.
visitor() {
  local n=0 failed=0
  while [[ ! -e $1 ]]; do
    if get "http://127.0.0.1:$front/large?bytes=20000" -o /dev/null; then n=$((n + 1)); else failed=$((failed + 1)); fi
  done
  echo "$n $failed"
}

start_crowd() { # NAME
  crowd=()
  local i
  for i in 1 2 3 4; do
    start "$1$i" visitor "$WORK/$1.enough"
    crowd+=("$PID")
  done
}

# Sets SERVED and FAILED.
end_crowd() { # NAME
  touch "$WORK/$1.enough"
  wait "${crowd[@]}"
  read -r SERVED FAILED < <(awk '{ n += $1; failed += $2 } END { print n, failed }' "$WORK/$1"?.out)
}

LONG_BYTES=50000000 # more than all buffers on the way hold, so that the session lasts for the instance, too

# Six long sessions, while there are no others: leastconn gives two to each instance. One byte of each is read here, and
# the rest by end_long. Sets LONG to the descriptors of their output.
start_long() {
  LONG=()
  rm -f "$WORK"/long?
  local i pipe
  for i in 1 2 3 4 5 6; do
    mkfifo "$WORK/long$i"
    start "long$i" get "http://127.0.0.1:$front/large?bytes=$LONG_BYTES" -o "$WORK/long$i"
    exec {pipe}<>"$WORK/long$i" # for writing too, so that this does not wait for the client
    dd "of=$WORK/byte" bs=1 count=1 status=none <&"$pipe"
    exec {read_end}<"$WORK/long$i" {pipe}>&-
    LONG+=("$read_end")
  done
}

# Reads the long sessions to their ends, all at once. Sets CUT to the number of those that are not whole.
end_long() {
  CUT=0
  local i pipe counts=()
  for i in "${!LONG[@]}"; do
    wc -c <&"${LONG[i]}" >"$WORK/count$i" &
    counts+=("$!")
  done
  wait "${counts[@]}"
  for i in "${!LONG[@]}"; do
    pipe=${LONG[i]}
    exec {pipe}<&-
    (($(<"$WORK/count$i") == LONG_BYTES - 1)) || CUT=$((CUT + 1))
  done
}

# Sessions in the balancer's log that did not end as they should, those of one instance left out if it is named: cut, or
# with fewer bytes than an answer has. The kernel may close with FIN what a process leaves that was killed, and then only
# the bytes tell.
lost() {
  awk -v except="instances/${1:-none}" '$4 ~ /^instances\// && $4 != except {
    whole = ($6 > 20000 && $6 < 21000) || $6 > 50000000
    if ($7 != "--" || !whole) print
  }' "$WORK/haproxy.out"
}

start_origin --http 1.1
front=$(free_port)
script=("s|/run/haproxy|$WORK|" "s|bind :8000|bind 127.0.0.1:$front|" "s|check port 9090|check|" 's|maxconn .*|maxconn 2000|')
i=1
for name in "${NAMES[@]}"; do
  start_instance "$name"
  script+=("s|192.0.2.1$i:8000|127.0.0.1:${port[$name]} port ${metrics[$name]}|")
  i=$((i + 1))
done
printf '%s\n' "${script[@]}" >"$WORK/script"
sed -f "$WORK/script" "$REPO/deploy/haproxy/haproxy.cfg" >"$WORK/haproxy.cfg"

haproxy -c -q -f "$WORK/haproxy.cfg" || fail "the configuration is wrong"
start_listening haproxy "$front" haproxy -db -f "$WORK/haproxy.cfg"
balancer=$PID
for name in "${NAMES[@]}"; do wait_until "$name is up" state_is "$name" UP; done

total=0
failures=0
for name in "${NAMES[@]}"; do
  start_long
  start_crowd "$name-crowd-"
  kill -TERM "${pid[$name]}"
  PID=$balancer wait_until "the balancer sees that $name leaves" state_is "$name" DOWN
  end_long
  same "long sessions that were cut when $name was replaced" 0 "$CUT"
  gone_within 60 "${pid[$name]}" || fail "$name does not stop"
  wait "${pid[$name]}" || fail "$name ended with status $?"
  cp "$WORK/$name.err" "$WORK/$name.first.log"
  whole=$(sed '0,/"message":"stopping"/d' "$WORK/$name.first.log" | grep -c '"down":50[0-9]\{6\},.*"reason":"fin"' || true)
  same "long sessions that $name finished after it was asked to stop" 2 "$whole"
  ! grep -q '"reason":"stopped"' "$WORK/$name.first.log" || fail "$name has cut a session"
  start_instance "$name"
  PID=$balancer wait_until "$name is up again" state_is "$name" UP
  end_crowd "$name-crowd-"
  total=$((total + SERVED)) failures=$((failures + FAILED))
done
((total > 20)) || fail "only $total short sessions are no load"
same "clients that were not served while instances were replaced" 0 "$failures"
same "sessions that the balancer lost" "" "$(lost)"
same "sessions in the log of the balancer" $((total + 18)) "$(awk '$4 ~ /^instances\//' "$WORK/haproxy.out" | wc -l)"
echo "three instances replaced under load: $total short and 18 long sessions, none lost"

start_long
start_crowd wild
kill -KILL "${pid[two]}"
PID=$balancer wait_until "the balancer sees that two is gone" state_is two DOWN
end_long
end_crowd wild
same "sessions of others that were lost with the one that was killed" "" "$(lost two)"
of_two=$(lost | wc -l)
same "long sessions that were lost with the one that was killed" 2 "$CUT"
((CUT + FAILED <= of_two)) || fail "$((CUT + FAILED)) clients were not served, but the balancer lost $of_two"
# Of clients and not of the balancer, which the header of the PROXY protocol is for.
jq -e -s 'map(select(.message == "session ended") | .client) | length > 0 and all(startswith("127.0.0.2:"))' \
  <"$WORK/one.first.log" >/dev/null || fail "the log of an instance does not name the clients"
echo "one killed: of $((SERVED + FAILED)) short and 6 long sessions only $of_two were lost, all of them its own"
