#!/usr/bin/env bash
# Prometheus scrapes the proxy, while it serves and while it drains. What it has stored has to agree with the clients' counts and
# the log. Each query of the Grafana dashboard has to find something.
# Debian packages: prometheus curl jq iproute2
source "$(dirname "$0")/lib.sh"
need prometheus curl jq ss=iproute2

DASHBOARD=$REPO/deploy/grafana-dashboard.json

start_origin --http 1.1
start_proxy 127.0.0.1 "$ORIGIN_PORT" --metrics 127.0.0.1:0 --max-clients 2 --log-format json --allow 127.0.0.1
metrics=$(sed -nE 's|^metrics on http://(.*)/metrics$|\1|p' "$WORK/proxy.out")
proxy_port=$PROXY_PORT

port=$(free_port)
cat >"$WORK/prometheus.yml" <<END
global: { scrape_interval: 250ms, scrape_timeout: 250ms }
scrape_configs:
  - job_name: tcpproxy
    static_configs: [ { targets: [ "$metrics" ] } ]
END
promtool check config "$WORK/prometheus.yml" >"$WORK/promtool.out"
start_listening prometheus "$port" prometheus --config.file="$WORK/prometheus.yml" --storage.tsdb.path="$WORK/data" \
  --web.listen-address="127.0.0.1:$port" --log.level=warn

query() { curl -sS --max-time 10 "http://127.0.0.1:$port/api/v1/query" --data-urlencode "query=$1"; }
value() { query "$1" | jq -r '.data.result[0].value[1] // "nothing"'; }
is() { [[ $(value "$1") == "$2" ]]; }

# Ten sessions, one after the other, and a client that --allow does not admit.
for _ in {1..10}; do
  within 30 curl -sS --fail "http://127.0.0.1:$proxy_port/" -o "$WORK/page" -w '%{size_header} %{size_download}\n'
done | tee "$WORK/sizes" | awk '{ down += $1 + $2 } END { print down }' >"$WORK/down"
! curl -sS --max-time 10 "http://[::1]:$proxy_port/" >"$WORK/denied.out" 2>&1 || fail "a client was admitted that --allow does not name"

wait_until "Prometheus knows every session" is 'sum(tcpproxy_sessions_total)' 10
same "its target" 1 "$(value up)"
same "bytes down" "$(<"$WORK/down")" "$(value 'tcpproxy_delivered_bytes_total{direction="down"}')"
same "bytes up, as logged" "$(jq -s 'map(.up // 0) | add' "$WORK/proxy.err")" \
  "$(value 'tcpproxy_delivered_bytes_total{direction="up"}')"
same "how they ended, as logged" "$(jq -rs 'map(select(.reason == "fin")) | length' "$WORK/proxy.err")" \
  "$(value 'sum(tcpproxy_sessions_total{reason="fin"})')"
same "times to connect" 10 "$(value tcpproxy_connect_seconds_count)"
same "turned away" 1 "$(value tcpproxy_denied_total)"
same "the most clients at once" 2 "$(value tcpproxy_max_clients)"

# The queries of the dashboard.
jq -r '.panels[].targets[].expr' "$DASHBOARD" | while IFS= read -r expr; do
  expr=${expr//\$__rate_interval/1m}
  expr=${expr//\$instance/.*}
  query "$expr" | jq -e '.status == "success" and (.data.result | length) > 0' >"$WORK/judged" ||
    fail "a query of the dashboard finds nothing: $expr"
done

# Prometheus sees the drain, too.
exec 3<>"/dev/tcp/127.0.0.1/$proxy_port"
wait_until "it serves one more" is tcpproxy_active_sessions 1
same "health while serving" 200 "$(curl -sS -o "$WORK/health" -w '%{http_code}' "http://$metrics/healthz")"
kill -TERM "$PROXY_PID"
wait_until "Prometheus knows that it drains" is 'tcpproxy_draining + tcpproxy_active_sessions' 2
same "health while draining" 503 "$(curl -sS -o "$WORK/health" -w '%{http_code}' "http://$metrics/healthz")"
exec 3>&-
gone_within 10 "$PROXY_PID" || fail "the proxy does not stop although its last session is over"
wait_until "Prometheus reports it as down" is up 0
echo "Prometheus has the figures of the clients and of the log"
