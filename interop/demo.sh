#!/usr/bin/env bash
# A page to look at through the proxy, until Ctrl-C; `make demo` builds what it needs and calls it.
#     interop/demo.sh                                  proxyspec's page with many pictures, on port 8000
#     HOST=www.example.org PORT=80 interop/demo.sh     a real site
# LISTEN (default 8000) is the proxy's port. HTTP (default 1.1) is the version proxyspec's server speaks.
# PROXY_OPTIONS (default --max-clients 64) are further options for the proxy: a browser opens several connections.
source "$(dirname "$0")/lib.sh"
need_build

LISTEN=${LISTEN:-8000}
read -ra options <<<"${PROXY_OPTIONS---max-clients 64}"

# Some shells export HOST as the name of this machine, so HOST alone does not mean a site.
if [[ -n ${HOST:-} && (-n ${PORT:-} || $HOST != "$(uname -n)") ]]; then
  host=$HOST port=${PORT:-80}
else
  start_origin --http "${HTTP:-1.1}"
  host=127.0.0.1 port=$ORIGIN_PORT
fi

# Its log is part of the show, so it goes to the terminal.
proxy() { exec "$TCPPROXY" "$host" "$port" "$LISTEN" ${options[@]+"${options[@]}"} 2>&3; }
start proxy proxy 3>&2
until grep -q '^listening on ' "$WORK/proxy.out"; do
  if ! kill -0 "$PID" 2>/dev/null; then
    rm "$WORK"/*.out # finish shows these files, and they say nothing about the failure
    if (exec 4<>"/dev/tcp/127.0.0.1/$LISTEN") 2>/dev/null; then
      fail "port $LISTEN is taken by another program; choose another one: make demo LISTEN=8001"
    fi
    fail "the proxy could not start; the line above says why"
  fi
  sleep 0.05
done

cat <<END

    open     http://localhost:$(sed -E '1s/^listening on .*:([0-9]+), .*/\1/; q' "$WORK/proxy.out")/
    proxy    $(head -n 1 "$WORK/proxy.out")
    stop     Ctrl-C

END

trap 'echo; exit 0' INT TERM
wait "$PID" || fail "the proxy has ended by itself"
