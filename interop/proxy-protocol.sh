#!/usr/bin/env bash
# The PROXY protocol: HAProxy (accept-proxy) and nginx (listen … proxy_protocol) receive the address of the proxy's client,
# in both versions, over IPv4 and IPv6. It has to be the address that the client, curl, has for its own connection.
# Then the proxy runs behind HAProxy (send-proxy, send-proxy-v2) and passes the announced address on. HAProxy's health
# checks announce no client and keep their own address.
# Debian packages: haproxy nginx curl jq iproute2
source "$(dirname "$0")/lib.sh"
need haproxy nginx curl jq ss=iproute2

# haproxy_conf FILE: writes the settings of every instance, then those on the standard input.
haproxy_conf() {
  {
    printf 'defaults\n  timeout client 10s\n  timeout server 10s\n  timeout connect 10s\n'
    cat
  } >"$1"
}

haproxy_port=$(free_port)
haproxy_conf "$WORK/haproxy.cfg" <<END
frontend answers
  mode http
  bind 127.0.0.1:$haproxy_port accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"
END
start_listening haproxy "$haproxy_port" haproxy -db -f "$WORK/haproxy.cfg"

nginx_port=$(free_port)
# shellcheck disable=SC2016 # nginx expands it
nginx_configuration "listen 127.0.0.1:$nginx_port proxy_protocol;" 'default_type text/plain;' \
  'return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port";'
start_listening nginx "$nginx_port" nginx -p "$WORK" -c "$WORK/nginx.conf"

for server in haproxy nginx; do
  port=${server}_port
  for version in v1 v2; do
    for buffer in 1B 256KiB; do
      start_proxy 127.0.0.1 "${!port}" --proxy-protocol "$version" --buffer-size "$buffer"
      for host in 127.0.0.1 '[::1]'; do
        within 30 curl -sS --fail "http://$host:$PROXY_PORT/" -o "$WORK/received" \
          -w '%{local_ip} %{local_port} %{remote_ip} %{remote_port}' >"$WORK/known"
        same "the addresses that $server received, $version, $buffer, $host" "$(<"$WORK/known")" "$(<"$WORK/received")"
      done
      stop_proxy
    done
  done
done

# session CONDITION: whether the log has a session that meets it.
session() { jq -se --arg client "${client:-}" "any(.message == \"session ended\" and ($1))" "$WORK/proxy.err" >"$WORK/judged"; }

for option in send-proxy send-proxy-v2; do
  start_proxy 127.0.0.1 "$haproxy_port" --accept-proxy-protocol --proxy-protocol v1 --log-format json --max-clients 9
  balancer_port=$(free_port)
  haproxy_conf "$WORK/balancer.cfg" <<END
listen balancer
  mode tcp
  bind 127.0.0.1:$balancer_port
  bind [::1]:$balancer_port
  server proxy 127.0.0.1:$PROXY_PORT $option check inter 200ms
END
  start_listening balancer "$balancer_port" haproxy -db -f "$WORK/balancer.cfg"
  for host in 127.0.0.1 '[::1]'; do
    within 30 curl -sS --fail "http://$host:$balancer_port/" -o "$WORK/received" \
      -w '%{local_ip} %{local_port} %{remote_ip} %{remote_port}' >"$WORK/known"
    same "the addresses that were passed on, $option, $host" "$(<"$WORK/known")" "$(<"$WORK/received")"
    read -r ip port _ <<<"$(<"$WORK/known")"
    if [[ $ip == *:* ]]; then client=[$ip]:$port; else client=$ip:$port; fi
    # shellcheck disable=SC2016 # it is for jq
    wait_until "client and balancer are logged" session '.client == $client and .peer != $client and .reason == "fin"'
  done
  # A health check: by v1 HAProxy announces its own address, by v2 it says LOCAL.
  wait_until "a health check is logged" session \
    '.up == 0 and (.peer // .client) == .client and (.client | startswith("127.0.0.1:"))'
  stop "$PID"
  stop_proxy
done
echo "HAProxy and nginx receive the client's address, IPv4 and IPv6, by v1 and v2, and so does the proxy from HAProxy"
