#!/usr/bin/env bash
# systemd finds nothing wrong with the units, and the sandbox as tight as it was meant to be.
# Debian packages: make systemd man-db
source "$(dirname "$0")/../../interop/lib.sh"
need make systemd-analyze=systemd man=man-db

# The exposure that is left, in tenths: TCP in and out, the notification socket, sock_diag(7) over netlink, and for the instances low ports.
declare -A most=([tcpproxy.service]=11 [tcpproxy@.service]=15)

# verify looks for the program and the manual where the unit says that they are.
make -s -C "$REPO" install "PREFIX=$WORK/prefix" >"$WORK/make.out" 2>&1
cd "$WORK/prefix/lib/systemd/system"
MANPATH=$WORK/prefix/share/man: systemd-analyze verify ./tcpproxy.service ./tcpproxy.socket ./tcpproxy@web.service \
  >"$WORK/verify.out" 2>&1 || fail "the units are wrong: $(<"$WORK/verify.out")"
[[ ! -s $WORK/verify.out ]] || fail "the units have flaws: $(<"$WORK/verify.out")"

# To be sure that this would show.
sed 's/^RestartSec=/RestartSeconds=/; s|/bin/tcpproxy|/bin/nothing|' tcpproxy.service >broken.service
MANPATH=$WORK/prefix/share/man: systemd-analyze verify ./broken.service >"$WORK/verify.out" 2>&1 || true
for flaw in RestartSeconds bin/nothing; do
  grep -q "$flaw" "$WORK/verify.out" || fail "a flaw was not found: $flaw"
done
rm broken.service

for unit in "${!most[@]}"; do
  systemd-analyze security --no-pager --offline=yes --threshold="${most[$unit]}" "./$unit" >"$WORK/security.out" ||
    fail "$unit allows too much: $(grep -v '^✓' "$WORK/security.out")"
  tail -n 1 "$WORK/security.out"
done
