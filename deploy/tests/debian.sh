#!/usr/bin/env bash
# The Debian package on a machine of its own: this one's files, on which nothing that is written stays, with a systemd
# that is booted for it (systemd-nspawn). There the package is installed, its services are started, used under load,
# restarted, upgraded and stopped, and the package is purged. The sandbox of the units is at work in all of it.
# To be run by root, with cargo-deb installed.
# Debian packages: systemd systemd-container dbus curl iproute2 man-db

# boot FOLDER, in a mount namespace of its own: with the namespace all that is mounted goes. What is written over this
# machine's files is in memory.
if [[ ${1-} == boot ]]; then
  set -euo pipefail
  cd "$2"
  mount -t tmpfs none /run
  mkdir -p /run/systemd/system root out store
  mount -t tmpfs none store
  mkdir store/upper store/work
  mount -t overlay overlay -o lowerdir=/,upperdir=store/upper,workdir=store/work root
  tr -d - </proc/sys/kernel/random/uuid >root/etc/machine-id
  timeout --kill-after=5 300 systemd-nspawn --quiet --directory=root --register=no --keep-unit --private-network \
    --console=pipe --bind-ro="$REPO:/repo" --bind-ro="$BUILD:/build" --bind="$2/out:/out" --boot \
    systemd.run=/repo/deploy/tests/debian.sh systemd.run_success_action=exit systemd.run_failure_action=exit </dev/null
  exit
fi

source "$(dirname "$0")/../../interop/lib.sh"

outside() {
  need systemd-nspawn=systemd-container dbus-daemon=dbus curl ss=iproute2 man=man-db
  ((EUID == 0)) || fail "only root can boot a machine of its own"
  cargo deb --version >/dev/null 2>&1 || fail "missing: cargo-deb; try: cargo install cargo-deb"
  make -s -C "$REPO" deb >"$WORK/make.out" 2>&1
  REPO=$REPO BUILD=$BUILD unshare --mount "$0" boot "$WORK" >"$WORK/console.out" 2>&1 || true # the log tells
  [[ -s $WORK/out/log ]] || fail "that machine was not booted"
  cat "$WORK/out/log"
  grep -qxF 'all is well' "$WORK/out/log" || fail "it did not come to its end on that machine"
}

# --- What follows runs on that machine. ---

service() { systemctl show --property="$2" --value "$1"; }
fetch() { within 30 curl -sS --fail --noproxy '*' "http://127.0.0.1:$1/large?bytes=3000000" -o "$WORK/got"; }
served() { fetch "$1" && same_file "$WORK/expected" "$WORK/got"; }
is() { [[ $(service "$1" "$2") == "$3" ]]; }
until_is() { # UNIT PROPERTY VALUE
  local deadline=$((SECONDS + 30))
  until is "$@"; do
    ((SECONDS < deadline)) || fail "$1: $2 is $(service "$1" "$2") and not $3; $(systemctl status --no-pager "$1")"
    sleep 0.05
  done
}

# Clients that come all the time, until the file "enough" is there; prints how many, and fails if one was not served.
crowd() {
  local n=0
  while [[ ! -e $WORK/enough ]]; do
    curl -sS --fail --noproxy '*' --max-time 30 "http://127.0.0.1:$1/large?bytes=100000" -o /dev/null || return 1
    n=$((n + 1))
  done
  echo "$n"
}

# What a process may do, by the kernel's account.
may() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$(service "$1" MainPID)/status"; }

sandboxed() { # UNIT CAPABILITIES
  same "$1: capabilities" "$2" "$(may "$1" CapEff)"
  same "$1: no new privileges" 1 "$(may "$1" NoNewPrivs)"
  same "$1: system call filter" 2 "$(may "$1" Seccomp)"
  local uid
  uid=$(may "$1" Uid | cut -f1)
  ((uid > 60000)) || fail "$1 runs as user $uid"
  # It may have as many descriptors as the unit allows, and takes them.
  local soft hard
  read -r soft hard < <(awk '/open files/ { print $4, $5 }' "/proc/$(service "$1" MainPID)/limits")
  ((soft == hard && hard > 1024)) || fail "$1 may have only $soft of $hard descriptors"
}

instance() {
  # A port below 1024, and a name, which is looked up in the sandbox.
  printf '%s\n' REMOTE_HOST=localhost "REMOTE_PORT=$ORIGIN_PORT" SERVER_PORT=81 \
    'OPTIONS=--max-clients 0 --metrics 127.0.0.1:9181' >/etc/tcpproxy/web.conf
  systemctl enable --quiet --now tcpproxy@web
  same "the status of the instance" "forwarding to localhost:$ORIGIN_PORT" "$(service tcpproxy@web StatusText)"
  served 81
  curl -sS --fail --noproxy '*' http://127.0.0.1:9181/healthz >/dev/null || fail "it does not say how it is"
  sandboxed tcpproxy@web 0000000000000400

  systemctl kill --signal=HUP tcpproxy@web
  served 81
  systemctl kill --signal=KILL tcpproxy@web
  until_is tcpproxy@web NRestarts 1
  until_is tcpproxy@web ActiveState active
  served 81

  # A session under way survives the stop.
  start slow curl -sS --fail --noproxy '*' --limit-rate 20000000 "http://127.0.0.1:81/large?bytes=60000000" -o "$WORK/slow"
  local slow=$PID
  wait_until "the slow transfer has begun" test -s "$WORK/slow"
  systemctl stop tcpproxy@web
  wait "$slow" || fail "the stop has cut a transfer"
  same "the slow transfer" 60000000 "$(stat -c %s "$WORK/slow")"
  same "the result of the stop" success "$(service tcpproxy@web Result)"

  # Arguments that are wrong are not tried again and again.
  printf '%s\n' REMOTE_HOST=localhost REMOTE_PORT=80 SERVER_PORT=82 'OPTIONS=--no-such-option' >/etc/tcpproxy/bad.conf
  ! systemctl start tcpproxy@bad 2>/dev/null || fail "wrong arguments were taken"
  until_is tcpproxy@bad ActiveState failed
  same "the status of the bad instance" "2 0" "$(service tcpproxy@bad ExecMainStatus) $(service tcpproxy@bad NRestarts)"
  echo "an instance serves in its sandbox, restarts after a crash, and drains when stopped"
}

activated() {
  printf '%s\n' REMOTE_HOST=127.0.0.1 "REMOTE_PORT=$ORIGIN_PORT" 'OPTIONS=--max-clients 0 --exit-on-idle 1s' \
    >/etc/tcpproxy/tcpproxy.conf
  mkdir -p /etc/systemd/system/tcpproxy.socket.d
  printf '%s\n' '[Socket]' 'ListenStream=' 'ListenStream=83' 'ListenStream=127.0.0.1:84' \
    >/etc/systemd/system/tcpproxy.socket.d/ports.conf
  systemctl daemon-reload
  systemctl enable --quiet --now tcpproxy.socket
  same "the service before there is a client" inactive "$(service tcpproxy.service ActiveState)"
  served 83
  sandboxed tcpproxy.service 0000000000000000
  served 84
  until_is tcpproxy.service ActiveState inactive # no client has come for a while
  same "the result of leaving" success "$(service tcpproxy.service Result)"
  served 84

  local pids=() i
  for i in 1 2 3 4; do
    start "crowd$i" crowd 83
    pids+=("$PID")
  done
  for i in 1 2 3 4 5; do
    sleep 0.3 # of load
    systemctl restart tcpproxy.service
  done
  dpkg --install /repo/target/debian/*.deb >>"$WORK/dpkg.out" # an upgrade restarts it, too
  sleep 0.3
  touch "$WORK/enough"
  for i in "${pids[@]}"; do wait "$i" || fail "a client was lost"; done
  echo "two ports of one service; $(awk '{ n += $1 } END { print n }' "$WORK"/crowd?.out) clients during six restarts, none lost"
}

inside() {
  exec >/out/log 2>&1
  export TCPPROXY=/build/tcpproxy PROXYSPEC=/build/proxyspec
  start_origin --http 1.1
  curl -sS --fail --noproxy '*' "http://127.0.0.1:$ORIGIN_PORT/large?bytes=3000000" -o "$WORK/expected"

  dpkg --install /repo/target/debian/*.deb >"$WORK/dpkg.out"
  same "what is left to configure" "" "$(dpkg --audit)"
  dpkg --verify tcpproxy
  man --warnings tcpproxy >"$WORK/page"
  (cd / && tcpproxy --version)
  same "services that start unasked" "" "$(systemctl list-units --no-legend 'tcpproxy*')"
  mkdir /etc/tcpproxy

  instance
  systemctl start tcpproxy@web
  activated

  dpkg --purge tcpproxy >>"$WORK/dpkg.out" 2>&1
  ! pgrep -x tcpproxy || fail "a proxy is left"
  same "units that are left" "" "$(systemctl list-units --no-legend 'tcpproxy*' | grep -v ' not-found ' || true)"
  rm -r /etc/tcpproxy /etc/systemd/system/tcpproxy.socket.d # the administrator's
  # In /var/cache/man is what man keeps of the page it has shown.
  same "files that are left" "" "$(find /etc /usr /var /lib /run -xdev -name '*tcpproxy*' -cnewer /etc/machine-id \
    -not -path '/var/log/*' -not -path '/var/cache/man/*')"
  echo "all is well"
}

if [[ -d /out && $PPID == 1 ]]; then inside; else outside; fi
