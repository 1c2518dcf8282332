#!/usr/bin/env bash
# A request typed by hand: telnet to the proxy, "GET / HTTP/1.0", an empty line, and the page comes.
# Debian packages: telnet expect curl iproute2
source "$(dirname "$0")/lib.sh"
need telnet expect curl ss=iproute2

start_origin --http 1.0
start_proxy localhost "$ORIGIN_PORT"
within 30 curl -sS --fail --noproxy '*' -o "$WORK/direct" "http://127.0.0.1:$ORIGIN_PORT/"

export PROXY_PORT
# Each line is typed after the answer to the one before; telnet says "closed by foreign host" only after the server's FIN.
within 60 expect -f - >"$WORK/terminal" <<'EXPECT'
set timeout 20
proc give_up {what} { puts stderr "telnet.sh: $what"; exit 1 }
spawn telnet localhost $env(PROXY_PORT)
expect "Escape character is" {} timeout { give_up "not connected" } eof { give_up "refused" }
send "GET / HTTP/1.0\r"
send "\r"
expect "200 OK" {} timeout { give_up "no answer" } eof { give_up "closed without an answer" }
expect "Connection closed by foreign host." {} timeout { give_up "the connection stays open" } \
  eof { give_up "telnet ended otherwise" }
EXPECT

# The terminal shows each line end as CR LF, and the page stands between the headers and telnet's last word.
tr -d '\r' <"$WORK/terminal" | sed -n '/^<!DOCTYPE html>/,/^<\/html>/p' >"$WORK/typed"
same_file "$WORK/direct" "$WORK/typed"
stop_proxy
echo "the page of $(wc -c <"$WORK/typed") bytes came whole"
