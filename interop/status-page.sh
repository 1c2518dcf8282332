#!/usr/bin/env bash
# The page of the status server in headless Chromium while traffic runs: its numbers are those of the clients and of
# /sessions, on a wide screen, in the dark and on a telephone, and the browser reports no error.
# SCREENSHOTS=FOLDER keeps what the browser drew; otherwise it is removed at the end.
# Debian packages: chromium curl jq socat iproute2
source "$(dirname "$0")/lib.sh"
need chromium curl jq socat ss=iproute2

SCREENSHOTS=${SCREENSHOTS:-$WORK/screenshots}
mkdir -p "$SCREENSHOTS"

# A new profile each time, no background traffic, no name looked up, nothing but the one loopback address. The page's time
# runs faster than the clock, and waits for each answer.
OPTIONS=(
  --headless --disable-gpu --disable-quic --no-first-run --disable-background-networking --no-proxy-server
  --disable-component-update --disable-sync --disable-default-apps --disable-extensions --disable-breakpad
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1' --hide-scrollbars --virtual-time-budget=8000
  --enable-logging=stderr
)
# Chromium's sandbox refuses to run as root, as most build machines do.
((EUID != 0)) || OPTIONS+=(--no-sandbox)

origin=$(free_port) metrics=$(free_port)
# It sends back what it gets, and stays.
start_listening origin "$origin" socat "TCP-LISTEN:$origin,bind=127.0.0.1,fork,reuseaddr" EXEC:cat
start_proxy 127.0.0.1 "$origin" --max-clients 50 --metrics "127.0.0.1:$metrics"

status() { curl --silent --fail --max-time 30 "http://127.0.0.1:$metrics/$1"; }
json() { status "sessions?limit=1000" | jq -r "$1"; }
is() { [[ $(json "$1") == "$2" ]]; }

# Two that are idle after a few bytes, one of them with more, and one that talks all the time.
clients=()
connect() { # NAME COMMANDS: a client that sends what they write
  start "$1" bash -c "{ $2; } | socat - TCP:127.0.0.1:$PROXY_PORT >/dev/null"
  clients+=("$PID")
}
connect idle 'echo 12345; sleep 600'
connect more 'printf %02000d 1; echo; sleep 600'
wait_until "both are served" is '[.sessions[].up] | sort | map(tostring) | join(" ")' "6 2001"
connect busy 'while echo tick; do sleep 0.05; done'
wait_until "three are served" is .active 3
idle=$(json '.sessions[] | select(.up == 6) | .client')
oldest=$(json '.sessions[0].client')
busy=$(json '[.sessions[] | select(.up != 6 and .up != 2001)][0].client')

# shown ID: the text of the element in what the browser dumped. row CLIENT: its row.
shown() { grep -o "id=\"$1\"[^>]*>[^<]*" "$WORK/$NAME.html" | head -n 1 | sed 's/.*>//'; }
row() { tr -d '\n' <"$WORK/$NAME.html" | grep -o "<tr><td[^>]*>$1<.*" | sed 's|</tr>.*||; s/<[^>]*>/|/g; s/||*/|/g'; }
view() { # NAME SIZE SCHEME
  NAME=$1
  within 90 chromium "${OPTIONS[@]}" --user-data-dir="$WORK/profile-$1" --window-size="$2" \
    --blink-settings=preferredColorScheme="$3" --screenshot="$SCREENSHOTS/status-$1.png" --dump-dom \
    "http://127.0.0.1:$metrics/" >"$WORK/$1.html" 2>"$WORK/chromium.err"
  [[ -s $SCREENSHOTS/status-$1.png ]] || fail "$1: no screenshot"
  ! grep 'CONSOLE' "$WORK/chromium.err" || fail "$1: the browser complains"
}

before=$(json .up)
for how in 'light 1280,800 1' 'dark 1280,800 0' 'phone 500,900 0'; do
  read -ra how <<<"$how"
  view "${how[@]}"
  same "$NAME: state" serving "$(shown state)"
  same "$NAME: sessions" 3 "$(shown active)"
  same "$NAME: limit" " of 50" "$(shown limit)"
  same "$NAME: server" "→ 127.0.0.1:$origin" "$(shown remote)"
  [[ $(row "$idle") == *"|127.0.0.1:$origin|data|"*'|6 B|6 B|0 B/s|0 B|'* ]] || fail "$NAME: the idle client: $(row "$idle")"
  [[ $(row "$busy") == *"|127.0.0.1:$origin|data|"* ]] || fail "$NAME: the busy client: $(row "$busy")"
  # Of two answers that the page's fast time has brought close together, a few bytes can be much.
  [[ $(shown up-rate) =~ ^[0-9.]+\ ([KM]i)?B/s$ ]] || fail "$NAME: no rate: $(shown up-rate)"
  # The oldest is the first, which is said.
  [[ $(tr -d '\n' <"$WORK/$NAME.html") == *"<tbody id=\"sessions\"><tr><td data-label=\"Client\">$oldest</td>"* ]] || fail "$NAME: not sorted by age"
  grep -q 'data-sort="age" aria-sort="descending"' "$WORK/$NAME.html" || fail "$NAME: the order is not said"
done
(($(json .up) > before)) || fail "no traffic while the browser looked"

for client in "${clients[@]}"; do stop "$client"; done
stop_proxy
echo "3 sessions seen on a wide screen, in the dark and on a telephone"
