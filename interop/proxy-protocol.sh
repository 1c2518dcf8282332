#!/usr/bin/env bash
# The PROXY protocol: HAProxy (accept-proxy) and nginx (listen … proxy_protocol) are told who the client of the proxy is,
# in both versions, over IPv4 and IPv6. What they believe has to be what the client, curl, knows of its own connection.
# Debian packages: haproxy nginx curl iproute2
source "$(dirname "$0")/lib.sh"
need haproxy nginx curl ss=iproute2

haproxy_port=$(free_port)
cat >"$WORK/haproxy.cfg" <<END
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 10s
frontend told
  bind 127.0.0.1:$haproxy_port accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"
END
start_listening haproxy "$haproxy_port" haproxy -db -f "$WORK/haproxy.cfg"

nginx_port=$(free_port)
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
    listen 127.0.0.1:$nginx_port proxy_protocol;
    default_type text/plain;
    return 200 "\$proxy_protocol_addr \$proxy_protocol_port \$proxy_protocol_server_addr \$proxy_protocol_server_port";
  }
}
END
start_listening nginx "$nginx_port" nginx -p "$WORK" -c "$WORK/nginx.conf"

for server in haproxy nginx; do
  port=${server}_port
  for version in v1 v2; do
    for buffer in 1B 256KiB; do
      start_proxy 127.0.0.1 "${!port}" --proxy-protocol "$version" --buffer-size "$buffer"
      for host in 127.0.0.1 '[::1]'; do
        within 30 curl -sS --fail "http://$host:$PROXY_PORT/" -o "$WORK/told" \
          -w '%{local_ip} %{local_port} %{remote_ip} %{remote_port}' >"$WORK/known"
        same "what $server was told, $version, $buffer, $host" "$(<"$WORK/known")" "$(<"$WORK/told")"
      done
      stop_proxy
    done
  done
done
echo "HAProxy and nginx know the client, IPv4 and IPv6, by v1 and v2"
