#!/usr/bin/env bash
# The kernel refuses to watch a connection (epoll_ctl(2): ENOSPC). A request for metrics is reset, and a second later the next
# one is answered. For a pending client, which ends the acceptor, the program logs an error, the session that is left finishes,
# and the exit status is 1, so that a service manager starts the next process; the web proxy does the same.
# Debian packages: strace socat jq curl iproute2
source "$(dirname "$0")/lib.sh"
need strace socat jq curl ss=iproute2
WEBPROXY=${WEBPROXY:-$BUILD/webproxy}
[[ -x $WEBPROXY ]] || fail "no $WEBPROXY; build it: cargo build --release -p webproxy"

# refuse PID NAME COMMAND...: while the command runs, the first connection that this process, started as NAME, is to watch is
# refused.
refuse() {
  local refused=$1 log=$WORK/$2.err tracer
  shift 2
  start strace strace -f -p "$refused" -e trace=epoll_ctl -e inject=epoll_ctl:error=ENOSPC:when=1
  tracer=$PID
  wait_until "strace is attached" grep -q attached "$WORK/strace.err"
  "$@"
  PID=$refused
  wait_until "an error is logged" grep -Eq '"level":"ERROR"|^error: ' "$log"
  stop "$tracer"
}

# The process must end with status 1, and this must be its last line.
ends_with() {
  local status=0
  gone_within 30 "$1" || fail "$2 goes on without an acceptor"
  wait "$1" || status=$?
  same "the exit status of $2" 1 "$status"
  same "the last line of $2" "$3" "$(tail -n 1 "$WORK/$2.err")"
}

errors() { jq -Rr 'fromjson? | select(.level == "ERROR") | "\(.session): \(.error)"' "$WORK/proxy.err"; }

port=$(free_port)
start_listening server "$port" socat "TCP-LISTEN:$port,fork,reuseaddr" PIPE
start_proxy 127.0.0.1 "$port" --log-format json --metrics 127.0.0.1:0
metrics_port=$(sed -nE 's|^metrics on http://127.0.0.1:([0-9]+)/metrics$|\1|p' "$WORK/proxy.out")
ask() { exec 6<>"/dev/tcp/127.0.0.1/$metrics_port"; } # for nothing yet
refuse "$PROXY_PID" proxy ask
! read -r -t 30 -u 6 || fail "a connection that is not watched was answered"
exec 6>&-
same "the health" serving "$(within 30 curl -sS --noproxy '*' "http://127.0.0.1:$metrics_port/healthz")"
same "the errors" "tcpproxy::operations::status_server::StatusServer: No space left on device (os error 28)" "$(errors)"
stop "$PROXY_PID"

start_proxy 127.0.0.1 "$port" --log-format json
exec 5<>"/dev/tcp/127.0.0.1/$PROXY_PORT"
echo first >&5
read -r -t 30 -u 5 echoed
same "the echo" first "$echoed"
connect() { exec 6<>"/dev/tcp/127.0.0.1/$PROXY_PORT"; }
refuse "$PROXY_PID" proxy connect
! read -r -t 30 -u 6 || fail "the pending client was served"
echo second >&5
read -r -t 30 -u 5 echoed
same "the echo of the session that is left" second "$echoed"
exec 5>&- 6>&-
why="no further client can be accepted: No space left on device (os error 28)"
ends_with "$PROXY_PID" proxy "tcpproxy: cannot go on: $why"
same "the errors" "tcpproxy::acceptor::Acceptor: $why" "$(errors)"

start webproxy "$WEBPROXY" 0 --max-clients 1
webproxy=$PID
wait_until "the web proxy listens" grep -q '^listening on ' "$WORK/webproxy.out"
PROXY_PORT=$(sed -E '1s/^listening on .*:([0-9]+)$/\1/; q' "$WORK/webproxy.out")
refuse "$webproxy" webproxy connect # after it the acceptor waits for the end of this client
exec 6>&-
ends_with "$webproxy" webproxy "webproxy: $why"
