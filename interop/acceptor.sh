#!/usr/bin/env bash
# The kernel refuses to watch a pending client (epoll_ctl(2): ENOSPC), which ends the acceptor: the program logs an error,
# the session that is left finishes, and the exit status is 1, so that a service manager starts the next process.
# Debian packages: strace socat jq
source "$(dirname "$0")/lib.sh"
need strace socat jq

port=$(free_port)
start_listening server "$port" socat "TCP-LISTEN:$port,fork,reuseaddr" PIPE
start_proxy 127.0.0.1 "$port" --log-format json
exec 5<>"/dev/tcp/127.0.0.1/$PROXY_PORT"
echo first >&5
read -r -t 30 -u 5 echoed
same "the echo" first "$echoed"

start strace strace -f -p "$PROXY_PID" -e trace=epoll_ctl -e inject=epoll_ctl:error=ENOSPC
tracer=$PID
wait_until "strace is attached" grep -q attached "$WORK/strace.err"
exec 6<>"/dev/tcp/127.0.0.1/$PROXY_PORT"
PID=$PROXY_PID
wait_until "an error is logged" grep -q '"level":"ERROR"' "$WORK/proxy.err"
stop "$tracer"
! read -r -t 30 -u 6 || fail "the pending client was served"

echo second >&5
read -r -t 30 -u 5 echoed
same "the echo of the session that is left" second "$echoed"
exec 5>&-
gone_within 30 "$PROXY_PID" || fail "the proxy goes on without an acceptor"
status=0
wait "$PROXY_PID" || status=$?
same "the exit status" 1 "$status"
errors=$(jq -Rr 'fromjson? | select(.level == "ERROR") | "\(.session): \(.error)"' "$WORK/proxy.err")
same "the errors" "tcpproxy::acceptor::Acceptor: no further client can be accepted: No space left on device (os error 28)" "$errors"
same "the last line" "tcpproxy: cannot go on: no further client can be accepted: No space left on device (os error 28)" \
  "$(tail -n 1 "$WORK/proxy.err")"
