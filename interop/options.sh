#!/usr/bin/env bash
# Options of operators, each with a real program at the other end: nginx sees the addresses of --source in turn; with --retry
# no request of curl fails while nginx is away; --max-per-address resets curl's connection too many; the sockets of a stalled
# download hold no more than --socket-buffer; --quiet-empty keeps connects without a byte, as of a health check, out of the log.
# Debian packages: nginx curl jq socat iproute2
source "$(dirname "$0")/lib.sh"
need nginx curl jq socat ss=iproute2

port=$(free_port)
mkdir -p "$WORK/www"
head -c 50000000 /dev/zero >"$WORK/www/big"
# shellcheck disable=SC2016 # nginx expands it
nginx_configuration "listen 127.0.0.1:$port;" "root $WORK/www;" 'location = / { return 200 "$remote_addr\n"; }'
chmod 755 "$WORK"
start_nginx() { start_listening nginx "$port" nginx -c "$WORK/nginx.conf" -e stderr && nginx=$PID; }
get() { curl --silent --show-error --fail --max-time 60 "$@" "http://127.0.0.1:$PROXY_PORT/"; }

# --source
start_nginx
start_proxy 127.0.0.1 "$port" --max-clients 0 --source 127.0.0.3 --source 127.0.0.4
same "the addresses that nginx sees" "127.0.0.3 127.0.0.4 127.0.0.3" "$(for _ in 1 2 3; do get; done | tr '\n' ' ' | sed 's/ $//')"
stop_proxy
echo "--source: nginx sees both addresses in turn"

# --retry: requests begin all the time while nginx is away for 0.7 s and is started again.
start_proxy 127.0.0.1 "$port" --max-clients 0 --retry --log-format json
requests() {
  local number
  for number in {1..60}; do
    get >"$WORK/retry.$number" 2>&1 &
    sleep 0.03
  done
  wait
}
stop "$nginx" # before the first request: one that it has, or that is in its accept queue, is lost with it
start requests requests
requests=$PID
sleep 0.7 # this long the server is away
start_nginx
wait "$requests"
for number in {1..60}; do
  same "answer $number" 127.0.0.1 "$(<"$WORK/retry.$number")"
done
waited=$(jq -s 'map(select(.message == "session ended" and .connect_ms > 40)) | length' "$WORK/proxy.err")
((waited > 0)) || fail "no session has waited for nginx"
stop_proxy
echo "--retry: 60 requests, all answered; $waited have waited for nginx"

# --max-per-address
start_proxy 127.0.0.1 "$port" --max-clients 0 --max-per-address 2
held=()
hold() { start "$1" socat -u "TCP:127.0.0.1:$PROXY_PORT" /dev/null && held+=("$PID"); }
established() { (($(ss -Htn state established "sport = :$PROXY_PORT" | wc -l) == $1)); }
hold one && hold two
wait_until "two are served" established 2
status=0
get >"$WORK/curl.out" 2>&1 || status=$?
((status == 7 || status == 56)) || fail "curl's status is $status, as if it was not reset"
same "one of another address" 127.0.0.1 "$(get --interface 127.0.0.9)"
for client in "${held[@]}"; do stop "$client"; done
PID=$PROXY_PID # wait_until watches this process
wait_until "both are over" established 0
same "the next one" 127.0.0.1 "$(get)"
stop_proxy
echo "--max-per-address: the third connection of an address is reset"

# --socket-buffer
start_proxy 127.0.0.1 "$port" --buffer-size 64KiB --socket-buffer 64KiB
start download curl --silent --limit-rate 1000 --output /dev/null "http://127.0.0.1:$PROXY_PORT/big"
# The bytes that the kernel holds for both sockets, its bookkeeping included.
held() { ss -Htnmp | grep -A 1 "pid=$PROXY_PID," | grep -o 'skmem:([^)]*' | sed -E 's/.*\(r([0-9]+),.*,w([0-9]+),.*/\1 \2/' | awk '{ sum += $1 + $2 } END { print sum + 0 }'; }
fills() { (($(held) > 40000)); }
wait_until "the download stalls" fills
for _ in 1 2 3 4 5; do
  (($(held) <= 4 * 65536 + 8192)) || fail "the kernel holds $(held) bytes"
  sleep 0.1 # it would grow
done
echo "--socket-buffer 64KiB: the kernel holds $(held) bytes for a stalled download"
stop "$PID"
stop_proxy

# --quiet-empty
metrics=$(free_port)
start_proxy 127.0.0.1 "$port" --max-clients 0 --quiet-empty --log-format json --metrics "127.0.0.1:$metrics"
for _ in 1 2 3 4 5; do socat -u OPEN:/dev/null "TCP:127.0.0.1:$PROXY_PORT"; done
same "the request" 127.0.0.1 "$(get)"
ended() { (($(curl --silent "http://127.0.0.1:$metrics/sessions" | jq .ended) == $1)); }
PID=$PROXY_PID
wait_until "all sessions are counted" ended 6
logged() { jq -s 'map(select(.message == "session ended")) | length' "$WORK/proxy.err"; }
one_is_logged() { (($(logged) >= 1)); }
wait_until "the request is logged" one_is_logged
same "sessions in the log" 1 "$(logged)"
stop_proxy
echo "--quiet-empty: one request in the log, and the checks in the metrics"
