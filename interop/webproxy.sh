#!/usr/bin/env bash
# The web proxy between real programs: curl gets files from http and https origins through it, and
# headless Chromium shows the page with every picture, twice, the second time from the proxy's cache.
# Debian packages: chromium curl iproute2 openssl
source "$(dirname "$0")/lib.sh"
need chromium curl openssl ss=iproute2
WEBPROXY=${WEBPROXY:-$BUILD/webproxy}
[[ -x $WEBPROXY ]] || fail "no $WEBPROXY; build it: cargo build --release -p webproxy"

SCREENSHOTS=${SCREENSHOTS:-$WORK/screenshots}
mkdir -p "$SCREENSHOTS"

start webproxy "$WEBPROXY" 0
WEBPROXY_PID=$PID
wait_until "the web proxy listens" grep -q '^listening on ' "$WORK/webproxy.out"
WEBPROXY_PORT=$(sed -E '1s/^listening on .*:([0-9]+).*/\1/; q' "$WORK/webproxy.out")

fetch() { within 120 curl -sS --fail --noproxy '' --proxy "http://127.0.0.1:$WEBPROXY_PORT" "$@"; }

# The log of the web proxy has a line for each response, which ends with what the cache did: how many of this kind?
responses() { grep -c "\" 200 [0-9]* .* $1\$" "$WORK/webproxy.err" || true; }
has_responses() { (($(responses "$1") >= $2)); }

for http in 1.0 1.1; do
  start_origin --http "$http"
  origin=http://127.0.0.1:$ORIGIN_PORT
  for file in '' image/static.png 'large?bytes=1' 'large?bytes=100000000'; do
    within 120 curl -sS --fail --noproxy '*' -o "$WORK/direct" "$origin/$file"
    fetch -o "$WORK/proxied" "$origin/$file"
    same_file "$WORK/direct" "$WORK/proxied"
    fetch --proxytunnel -o "$WORK/tunnelled" "$origin/$file"
    same_file "$WORK/direct" "$WORK/tunnelled"
    fetch --http1.0 -o "$WORK/proxied" "$origin/$file"
    same_file "$WORK/direct" "$WORK/proxied"
  done
  same "what HEAD says" 200 "$(fetch --head -o "$WORK/head" -w '%{http_code}' "$origin/large?bytes=1000000000000")"
  echo "curl, HTTP/$http: 4 files equal in three ways"
done

# The certificate is not trusted, so curl must not check it (-k): only that the bytes come through is tested.
openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout "$WORK/key.pem" -out "$WORK/cert.pem" \
  2>"$WORK/openssl.err"
TLS_PORT=$(free_port)
head -c 5000000 /dev/urandom >"$WORK/secret"
cd "$WORK" # whose files the server serves
start_listening tls "$TLS_PORT" openssl s_server -accept "127.0.0.1:$TLS_PORT" -key key.pem -cert cert.pem -WWW -quiet
cd - >/dev/null
fetch -k -o "$WORK/got" "https://127.0.0.1:$TLS_PORT/secret"
same_file "$WORK/secret" "$WORK/got"
wait_until "https has gone through the proxy" grep -q "\"CONNECT 127.0.0.1:$TLS_PORT HTTP/1.1\" 200 .* TUNNEL\$" "$WORK/webproxy.err"
echo "curl, https: a file equal through a tunnel"

# A new profile each time, so that nothing comes from the browser's own cache. Loopback goes through the proxy as well.
# Requests of the browser to its maker go to a port without a listener.
OPTIONS=(
  --headless --disable-gpu --disable-quic --no-first-run --disable-background-networking
  --disable-component-update --disable-sync --disable-default-apps --disable-extensions --disable-breakpad
  --disable-features=NetworkTimeServiceQuerying --component-updater=url-source=http://127.0.0.1:1/
  "--proxy-server=http=127.0.0.1:$WEBPROXY_PORT;https=127.0.0.1:1" '--proxy-bypass-list=<-loopback>'
  '--window-size=1120,620' --hide-scrollbars
)
((EUID != 0)) || OPTIONS+=(--no-sandbox)

show() {
  within 90 chromium "${OPTIONS[@]}" --user-data-dir="$WORK/profile-$1" --timeout=60000 \
    --screenshot="$SCREENSHOTS/webproxy-$1.png" --dump-dom "http://127.0.0.1:$ORIGIN_PORT/" \
    >"$WORK/$1.html" 2> >(grep -v 'dbus/' >"$WORK/chromium.err")
  local result
  result=$(grep -o '<p id="result"[^>]*>[^<]*' "$WORK/$1.html") || fail "$1: the browser shows no page"
  [[ $result == *'data-state="complete"'* ]] || fail "$1: $result"
  echo "$1: ${result#*>}"
}

start_origin --http 1.1 --max-age 3600
misses=$(responses MISS) hits=$(responses HIT)
show first
files=$(($(grep -o 'image/[a-z]*\.png"' "$WORK/first.html" | sort -u | wc -l) + 1))
wait_until "the origin gives $files files for the first load" has_responses MISS $((misses + files))
misses=$(responses MISS)
show second
wait_until "the cache gives $files files for the second load" has_responses HIT $((hits + files))
same "files that the origin gave for the second load" 0 $(($(responses MISS) - misses))
same "files that the cache gave for the second load" "$files" $(($(responses HIT) - hits))

kill -0 "$WEBPROXY_PID" || fail "the web proxy has died"
! grep -Ew 'panicked|ERROR' "$WORK/webproxy.err" || fail "the web proxy logged an error of its own"
