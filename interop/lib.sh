# shellcheck shell=bash
# What the scripts of this folder share; to be sourced first. It makes a scratch folder, WORK, and removes it at the
# end together with every process that was started by start, start_proxy or start_origin. When a script fails, it
# shows the last lines each of them wrote.
#
# The programs under test: TCPPROXY and PROXYSPEC, by default those of the release build.
#
# What the functions here "set" is for the script that sources this file:
# shellcheck disable=SC2034

set -euo pipefail
shopt -s inherit_errexit 2>/dev/null || true # bash 3.2, which macOS has, does not know it; demo.sh runs there too

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${CARGO_TARGET_DIR:-$REPO/target}/release
TCPPROXY=${TCPPROXY:-$BUILD/tcpproxy}
PROXYSPEC=${PROXYSPEC:-$BUILD/proxyspec}
WORK=$(mktemp -d)
STARTED=()

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

finish() {
  local status=$? pid file
  trap '' INT TERM
  for pid in ${STARTED[@]+"${STARTED[@]}"}; do stop "$pid"; done
  if ((status != 0 && status != 130)); then
    for file in "$WORK"/*.out "$WORK"/*.err; do
      if [[ -s $file ]]; then printf -- '--- %s\n' "$(basename "$file")" && tail -n 20 "$file"; fi
    done >&2
  fi
  rm -rf "$WORK"
  exit "$status"
}

# Ends what start has started, and its children. A second TERM is for servers that let their clients finish.
stop() {
  kill -TERM -- "-$1" 2>/dev/null || return 0
  gone_within 1 "$1" || kill -TERM -- "-$1" 2>/dev/null || true
  gone_within 3 "$1" || true
  kill -KILL -- "-$1" 2>/dev/null || true
}

gone_within() {
  local deadline=$((SECONDS + $1))
  while kill -0 "$2" 2>/dev/null; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# need PROGRAM[=DEBIAN_PACKAGE]...: fails at once if something is missing, and names the packages that have it. It also
# needs the programs under test; need_programs does not.
need() {
  need_programs "$@"
  need_build
}

need_programs() {
  local entry missing=() packages=()
  for entry in "$@"; do
    if [[ -z $(command -v "${entry%%=*}") ]]; then
      missing+=("${entry%%=*}")
      packages+=("${entry#*=}")
    fi
  done
  ((${#missing[@]} == 0)) || fail "missing: ${missing[*]}; try: apt-get install ${packages[*]}"
}

need_build() {
  local program
  for program in "$TCPPROXY" "$PROXYSPEC"; do
    [[ -x $program ]] || fail "no $program; build it: cargo build --release -p $(basename "$program")"
  done
}

# private_network "$@": starts the script again in namespaces of its own, with nothing but a loopback interface and
# with mounts that no other process sees. Without root, user namespaces have to be allowed.
private_network() {
  local user=()
  if [[ -z ${PRIVATE_NETWORK:-} ]]; then
    ((EUID == 0)) || user=(--user --map-root-user)
    rm -rf "$WORK" # exec runs no trap
    PRIVATE_NETWORK=1 exec unshare ${user[@]+"${user[@]}"} --net --mount -- "$0" "$@"
  fi
  ip link set lo up
}

# Makes another network namespace behind a veth pair, from within a private one: 192.0.2.1 (near) is here, 192.0.2.2 (far) there.
# Sets far, a process there; away runs a command there.
far_network() {
  start far unshare --net sleep 600
  far=$PID
  wait_until "there is another network" is_elsewhere "$far"
  ip link add near address 02:00:00:00:00:01 type veth peer name far address 02:00:00:00:00:02 netns "$far"
  ip address add 192.0.2.1/24 dev near
  ip link set near up
  away ip address add 192.0.2.2/24 dev far
  away ip link set far up
  away ip link set lo up
}

away() { nsenter --target "$far" --net -- "$@"; }

is_elsewhere() { [[ $(readlink "/proc/$1/ns/net") != "$(readlink /proc/self/ns/net)" ]]; }

# start NAME COMMAND...: runs it in the background, its output in $WORK/NAME.out and NAME.err. Sets PID.
# It gets a process group of its own, so that a function or a server can be ended together with its children.
start() {
  local name=$1
  shift
  # Emptied here and not by the new process: wait_until could otherwise still read the output of an earlier one of this name.
  : >"$WORK/$name.out"
  : >"$WORK/$name.err"
  set -m
  "$@" >"$WORK/$name.out" 2>"$WORK/$name.err" </dev/null &
  set +m
  PID=$!
  STARTED+=("$PID")
}

# wait_until WHAT COMMAND...: until the command succeeds, while the program started last is alive.
wait_until() {
  local what=$1 deadline=$((SECONDS + 30))
  shift
  until "$@"; do
    kill -0 "$PID" 2>/dev/null || fail "the program ended before: $what"
    ((SECONDS < deadline)) || fail "waited 30 seconds, without success, for: $what"
    sleep 0.05
  done
}

listening() { [[ -n $(ss -Hltn "sport = :$1") ]]; }

# start_listening NAME PORT COMMAND...: start, then wait until the port is listened on.
start_listening() {
  local name=$1 port=$2
  shift 2
  start "$name" "$@"
  wait_until "$name listens on port $port" listening "$port"
}

# nginx_configuration SERVER...: writes $WORK/nginx.conf, with these lines in its one server.
nginx_configuration() {
  cat >"$WORK/nginx.conf" <<END
daemon off;
worker_processes 1;
user $(id -un) $(id -gn);
pid $WORK/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path $WORK/body; proxy_temp_path $WORK/proxy; fastcgi_temp_path $WORK/fastcgi;
  uwsgi_temp_path $WORK/uwsgi; scgi_temp_path $WORK/scgi;
  server {
$(printf '    %s\n' "$@")
  }
}
END
}

# A port below the range that the kernel gives to clients, so no client takes it before the server does.
free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)) && [[ -n $(ss -Htan "sport = :$port") ]]; do :; done
  echo "$port"
}

# start_origin [OPTION]...: the web server of proxyspec. Sets ORIGIN_PORT.
start_origin() {
  start origin "$PROXYSPEC" origin "$@"
  wait_until "the origin listens" grep -q '^listening on ' "$WORK/origin.out"
  ORIGIN_PORT=$(sed -E '1s/.*:([0-9]+)$/\1/; q' "$WORK/origin.out")
}

# start_proxy HOST PORT [OPTION]...: the proxy on a free port. Sets PROXY_PORT and PROXY_PID.
start_proxy() {
  local host=$1 port=$2
  shift 2
  start proxy "$TCPPROXY" "$host" "$port" 0 "$@"
  PROXY_PID=$PID
  wait_until "the proxy listens" grep -q '^listening on ' "$WORK/proxy.out"
  PROXY_PORT=$(sed -E '1s/^listening on .*:([0-9]+), forwarding to .*/\1/; q' "$WORK/proxy.out")
}

# Stops the proxy by SIGTERM. It must still be alive, have logged no error of its own, and end with status 0, because no
# session is left.
stop_proxy() {
  local status=0
  kill -TERM "$PROXY_PID" 2>/dev/null || fail "the proxy has died"
  gone_within 10 "$PROXY_PID" || fail "the proxy does not stop: does a session live on?"
  wait "$PROXY_PID" || status=$?
  ((status == 0)) || fail "the proxy ended with status $status"
  ! grep -Ew 'panicked|ERROR' "$WORK/proxy.err" || fail "the proxy logged an error of its own"
}

# within SECONDS COMMAND...: the command must succeed, and before that time.
within() {
  local seconds=$1 status=0
  shift
  timeout --foreground --kill-after=5 "$seconds" "$@" || status=$?
  ((status != 124 && status != 137)) || fail "still running after $seconds seconds: $*"
  ((status == 0)) || fail "status $status: $*"
}

same_file() { cmp "$1" "$2" >&2 || fail "$1 and $2 differ"; }

same() { [[ $2 == "$3" ]] || fail "$1: expected $2, got $3"; }
