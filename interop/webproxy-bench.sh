#!/usr/bin/env bash
# The web proxy beside Squid and nginx as caching forward proxies: requests a second, and processor time of a request,
# when the cache has the response (hit) and when it comes from the origin each time (miss). wrk sends the requests over
# loopback over kept connections; the origin is nginx with a response of 1 KiB. All proxies have one process,
# a cache of 64 MiB and an access log. It prints a table in Markdown with the medians of all rounds.
# ROUNDS (default 3) and TIME (default 3, whole seconds) are how often and how long each proxy is measured; CONNECTIONS
# (default 32) how many requests are sent at once. To be run on a quiet machine: ROUNDS=5 TIME=5 interop/webproxy-bench.sh
# Debian packages: wrk squid nginx-light iproute2
source "$(dirname "$0")/lib.sh"
ROUNDS=${ROUNDS:-3} TIME=${TIME:-3} CONNECTIONS=${CONNECTIONS:-32}
export PATH=$PATH:/usr/sbin
need_programs wrk squid nginx=nginx-light ss=iproute2
WEBPROXY=${WEBPROXY:-$BUILD/webproxy}
[[ -x $WEBPROXY ]] || fail "no $WEBPROXY; build it: cargo build --release -p webproxy"
chmod 755 "$WORK" # Squid writes its log as a user of its own
declare -A pids ports

nginx_conf() { # NAME, and what is in its server
  cat >"$WORK/$1.conf" <<END
daemon off; worker_processes 1; pid $WORK/$1.pid; error_log stderr;
events { worker_connections 1024; }
http {
  access_log $3; keepalive_requests 1000000000; client_body_temp_path $WORK/$1-body; proxy_temp_path $WORK/$1-proxy;
  fastcgi_temp_path $WORK/$1-fastcgi; uwsgi_temp_path $WORK/$1-uwsgi; scgi_temp_path $WORK/$1-scgi;
  $2
}
END
}

ORIGIN=$(free_port)
body=$(head -c 1024 /dev/zero | tr '\0' x)
nginx_conf origin "server { listen 127.0.0.1:$ORIGIN;
  location /hit { add_header Cache-Control max-age=3600; return 200 $body; }
  location /miss { add_header Cache-Control no-store; return 200 $body; } }" off
start_listening origin "$ORIGIN" nginx -p "$WORK" -c "$WORK/origin.conf"

ports[webproxy]=$(free_port)
start_listening webproxy "${ports[webproxy]}" "$WEBPROXY" "${ports[webproxy]}"
pids[webproxy]=$PID

# It keeps connections to an upstream that is named only, so the origin is one.
ports[nginx]=$(free_port)
nginx_conf nginx "proxy_cache_path $WORK/nginx-cache keys_zone=cache:8m max_size=64m;
  upstream origin { server 127.0.0.1:$ORIGIN; keepalive 64; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:${ports[nginx]};
    location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_cache cache; } }" \
  "$WORK/nginx.access combined"
start_listening nginx "${ports[nginx]}" nginx -p "$WORK" -c "$WORK/nginx.conf"
pids[nginx]=$PID

ports[squid]=$(free_port)
mkdir -m 777 "$WORK/squid"
cat >"$WORK/squid.conf" <<END
http_port 127.0.0.1:${ports[squid]}
http_access allow all
cache_mem 64 MB
memory_cache_mode always
maximum_object_size_in_memory 2 MB
access_log stdio:$WORK/squid/access combined
cache_log $WORK/squid/log
cache_store_log none
pid_filename none
coredump_dir $WORK/squid
pinger_enable off
shutdown_lifetime 0
END
start_listening squid "${ports[squid]}" squid -N -f "$WORK/squid.conf"
pids[squid]=$PID

# Processor time of a process and its children so far, in ticks of 10 ms.
ticks() {
  local pid sum=0 stat
  for pid in "$1" $(cat /proc/"$1"/task/*/children); do
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
    read -ra stat <<<"${stat##*) }"
    sum=$((sum + stat[11] + stat[12]))
  done
  echo "$sum"
}

# measure NAME PATH: one run; appends "requests/s us/request" to $WORK/NAME-PATH.
measure() {
  local name=$1 path=$2 before after requests
  cat >"$WORK/request.lua" <<END
wrk.path = "http://127.0.0.1:$ORIGIN/$path"
wrk.headers["Host"] = "127.0.0.1:$ORIGIN"
done = function(summary)
  local e = summary.errors
  io.write("result ", summary.requests, " ", summary.duration, " ", e.connect + e.read + e.write + e.status + e.timeout, "\n")
end
END
  before=$(ticks "${pids[$name]}")
  within $((TIME + 30)) wrk -t 1 -c "$CONNECTIONS" -d "${TIME}s" -s "$WORK/request.lua" "http://127.0.0.1:${ports[$name]}/" >"$WORK/wrk.out"
  after=$(ticks "${pids[$name]}")
  read -r _ requests duration errors < <(grep '^result ' "$WORK/wrk.out")
  ((errors == 0)) || fail "$name: $errors errors with /$path"
  ((requests > 0)) || fail "$name: no response to /$path"
  echo "$((requests * 1000000 / duration)) $(((after - before) * 10000 * 10 / requests))" >>"$WORK/$name-$path"
}

# median FILE COLUMN
median() { sort -n -k "$2,$2" "$1" | awk -v column="$2" '{ value[NR] = $column } END { print value[int((NR + 1) / 2)] }'; }
tenth() { echo "$(($1 / 10)).$(($1 % 10))"; }

for ((round = 0; round < ROUNDS; round++)); do
  for path in hit miss; do
    for name in webproxy squid nginx; do measure "$name" "$path"; done
  done
done
echo "| proxy | hits/s | us of CPU per hit | misses/s | us of CPU per miss |"
echo "|---|---:|---:|---:|---:|"
for name in webproxy squid nginx; do
  hit=$WORK/$name-hit miss=$WORK/$name-miss
  echo "| $name | $(median "$hit" 1) | $(tenth "$(median "$hit" 2)") | $(median "$miss" 1) | $(tenth "$(median "$miss" 2)") |"
done
