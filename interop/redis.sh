#!/usr/bin/env bash
# Redis: redis-benchmark with 50 clients and pipelining through --max-clients 0, then a binary value there and back
# through the default proxy, which serves one client.
# Debian packages: redis-server redis-tools openssl iproute2
source "$(dirname "$0")/lib.sh"
need redis-server redis-benchmark=redis-tools redis-cli=redis-tools openssl ss=iproute2

REQUESTS=${REDIS_REQUESTS:-200000} # a multiple of the pipeline, so that the server counts exactly as many

server_port=$(free_port)
start_listening redis "$server_port" redis-server --bind 127.0.0.1 --port "$server_port" --save '' --appendonly no \
  --dir "$WORK"
info() { redis-cli -p "$server_port" info "$1" | tr -d '\r' | sed -n "s/^$2://p"; }

start_proxy 127.0.0.1 "$server_port" --max-clients 0
before=$(info stats total_connections_received)
within 300 redis-benchmark -h 127.0.0.1 -p "$PROXY_PORT" -c 50 -P 16 -n "$REQUESTS" --csv \
  -t ping_inline,ping_mbulk,set,get,incr,lpush,rpop,lrange_100,mset | tee "$WORK/benchmark.out"
# Big values, so that neither way fits into one buffer of the proxy.
within 300 redis-benchmark -h 127.0.0.1 -p "$PROXY_PORT" -c 20 -P 16 -n 1600 -d 300000 -t set,get --csv
stop_proxy

! grep -i error "$WORK/benchmark.out" || fail "redis-benchmark reported an error"
# Each INCR counted once: none was lost and none repeated.
same "the counter" "$REQUESTS" "$(redis-cli -p "$server_port" get 'counter:__rand_int__')"
same "error replies" 0 "$(info stats total_error_replies)"
(($(info stats total_connections_received) - before > 400)) || fail "too few clients came through the proxy"

start_proxy 127.0.0.1 "$server_port"
openssl rand 3000001 >"$WORK/value"
within 30 redis-cli -p "$PROXY_PORT" -x set blob <"$WORK/value" >"$WORK/answer"
same "the answer to SET" OK "$(<"$WORK/answer")"
within 30 redis-cli -p "$PROXY_PORT" get blob | head -c -1 >"$WORK/got" # redis-cli ends a value with a newline
same_file "$WORK/value" "$WORK/got"
stop_proxy
echo "a counter of $REQUESTS and a value of 3000001 bytes are right"
