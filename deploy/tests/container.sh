#!/usr/bin/env bash
# The container image, built without a daemon: it has the static program and nothing else. The program runs without privileges,
# resolves names, serves, answers /healthz, and drains when it is stopped.
# Debian packages: make buildah curl iproute2
source "$(dirname "$0")/../../interop/lib.sh"
need make buildah curl ss=iproute2

BUILDAH="buildah --storage-driver vfs --root $WORK/storage --runroot $WORK/running"
buildah() { command $BUILDAH "$@"; }
# chroot(1) is all the isolation that it needs here, and can be had without privileges.
run() { exec $BUILDAH run --isolation chroot "$container" -- "$@"; }

make -s -C "$REPO" image "BUILDAH=$BUILDAH" >"$WORK/make.out" 2>&1
container=$(buildah from localhost/tcpproxy)
mounted=$(buildah mount "$container")
same "what is in the image" /tcpproxy "$(cd "$mounted" && find . -type f | sed 's/^\.//')"
linked=$(ldd "$mounted/tcpproxy" 2>&1 || true)
[[ $linked == *'statically linked'* || $linked == *'not a dynamic executable'* ]] || fail "it is not static: $linked"
same "its user" 65532:65532 "$(buildah inspect --format '{{.OCIv1.Config.User}}' "$container")"
same "what it runs" '[/tcpproxy]' "$(buildah inspect --format '{{.OCIv1.Config.Entrypoint}}' "$container")"

start_origin --http 1.1
curl -sS --fail --noproxy '*' "http://127.0.0.1:$ORIGIN_PORT/large?bytes=30000000" -o "$WORK/expected"
metrics=$(free_port)
start proxy run /tcpproxy localhost "$ORIGIN_PORT" 0 --max-clients 0 --metrics "127.0.0.1:$metrics"
wait_until "the proxy listens" grep -q '^listening on ' "$WORK/proxy.out"
port=$(sed -E '1s/^listening on .*:([0-9]+), forwarding to .*/\1/; q' "$WORK/proxy.out")
pid=$(ss -Hltnp "sport = :$port" | grep -o 'pid=[0-9]*' | head -n 1 | cut -d= -f2)
same "its user" 65532 "$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")"

for _ in 1 2 3; do
  within 20 curl -sS --fail --noproxy '*' "http://127.0.0.1:$port/large?bytes=30000000" -o "$WORK/got"
  same_file "$WORK/expected" "$WORK/got"
done
same "its health" serving "$(curl -sS --noproxy '*' "http://127.0.0.1:$metrics/healthz")"

start slow curl -sS --fail --noproxy '*' --limit-rate 20000000 "http://127.0.0.1:$port/large?bytes=60000000" -o "$WORK/slow"
slow=$PID
wait_until "the slow transfer has begun" test -s "$WORK/slow"
kill -TERM "$pid"
wait "$slow" || fail "the stop has cut a transfer"
gone_within 10 "$pid" || fail "it does not stop"
grep -q 'stopping sessions=1' "$WORK/proxy.err" || fail "there was no session to wait for"
echo "an image of $(stat -c %s "$mounted/tcpproxy") bytes serves, and drains when stopped"
