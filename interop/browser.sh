#!/usr/bin/env bash
# Headless Chromium shows the page with every picture through the proxy: in front of an HTTP/1.0 server and of an
# HTTP/1.1 server that keeps connections, with --max-clients 64, and with one client at a time and --yield-idle.
# With --yield-idle the time is longer than a busy machine's browser takes from connecting to its first byte: a browser does not
# ask again on a connection that was reset before its first answer. The page itself counts the pictures that came whole; see proxyspec/src/web/page.rs.
# SCREENSHOTS=FOLDER keeps what the browser drew; otherwise it is removed at the end.
# Debian packages: chromium iproute2
source "$(dirname "$0")/lib.sh"
need chromium ss=iproute2

SCREENSHOTS=${SCREENSHOTS:-$WORK/screenshots}
mkdir -p "$SCREENSHOTS"

# A new profile each time, no background traffic, no name looked up, nothing but the one loopback address.
OPTIONS=(
  --headless --disable-gpu --disable-quic --no-first-run --disable-background-networking --no-proxy-server
  --disable-component-update --disable-sync --disable-default-apps --disable-extensions --disable-breakpad
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1'
  '--window-size=1120,620' --hide-scrollbars
)
# Chromium's sandbox refuses to run as root, as most build machines do.
((EUID != 0)) || OPTIONS+=(--no-sandbox)

# show NAME PORT: the browser opens the page and dumps the document as it is after the page's script ran.
show() {
  local result
  within 90 chromium "${OPTIONS[@]}" --user-data-dir="$WORK/profile-$1" --timeout=60000 \
    --screenshot="$SCREENSHOTS/$1.png" --dump-dom "http://127.0.0.1:$2/" \
    >"$WORK/$1.html" 2> >(grep -v 'dbus/' >"$WORK/chromium.err")
  result=$(grep -o '<p id="result"[^>]*>[^<]*' "$WORK/$1.html") || fail "$1: the browser shows no page"
  [[ -s $SCREENSHOTS/$1.png ]] || fail "$1: no screenshot"
  [[ $result == *'data-state="complete"'* ]] || fail "$1: $result"
  echo "$1: ${result#*>}"
}

for http in 1.0 1.1; do
  start_origin --http "$http"
  for mode in '--max-clients 64' '--max-clients 1 --yield-idle 3s'; do
    read -ra proxy_options <<<"$mode"
    start_proxy 127.0.0.1 "$ORIGIN_PORT" "${proxy_options[@]}"
    show "http-$http-clients-${proxy_options[1]}" "$PROXY_PORT"
    stop_proxy
  done
done
