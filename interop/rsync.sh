#!/usr/bin/env bash
# rsync:// through the proxy, both ways: a tree of small and big files, then only what has changed in it.
# RSYNC_BIG_BYTES (default 200000000) is the size of the biggest file.
# Debian packages: rsync openssl iproute2
source "$(dirname "$0")/lib.sh"
need rsync openssl ss=iproute2

make_tree() {
  local number
  for number in {1..500}; do
    mkdir -p "$1/folder$((number % 25))"
    seq "$number" $((number * 10)) >"$1/folder$((number % 25))/file$number"
  done
  : >"$1/empty"
  openssl rand 1000000 >"$1/middle"
  openssl rand "${RSYNC_BIG_BYTES:-200000000}" >"$1/big"
  ln -s folder1/file1 "$1/link"
}

same_tree() { diff -r --no-dereference "$1" "$2" >&2 || fail "$1 and $2 differ"; }

# Started by root, rsync would change to a user that may not read the scratch folder; without root it must not name one.
owner=
((EUID != 0)) || owner=$'uid = root\ngid = root'
mkdir "$WORK/served" "$WORK/copy" "$WORK/back"
make_tree "$WORK/served"
cat >"$WORK/rsyncd.conf" <<END
use chroot = no
munge symlinks = no
$owner
[tree]
path = $WORK/served
[back]
path = $WORK/back
read only = no
END

server_port=$(free_port)
start_listening rsync "$server_port" rsync --daemon --no-detach --config="$WORK/rsyncd.conf" --address=127.0.0.1 \
  --port="$server_port" --log-file="$WORK/rsyncd.err"
start_proxy 127.0.0.1 "$server_port"
url=rsync://127.0.0.1:$PROXY_PORT

within 120 rsync --archive --checksum "$url/tree/" "$WORK/copy/"
same_tree "$WORK/served" "$WORK/copy"
within 120 rsync --archive --checksum "$WORK/copy/" "$url/back/"
same_tree "$WORK/copy" "$WORK/back"

# rsync sends checksums one way while blocks come the other way.
printf 'changed' | dd of="$WORK/served/big" bs=1 seek=1000000 conv=notrunc status=none
rm -r "$WORK/served/folder3"
within 120 rsync --archive --checksum --delete --compress "$url/tree/" "$WORK/copy/"
same_tree "$WORK/served" "$WORK/copy"
within 120 rsync --archive --checksum --delete "$WORK/copy/" "$url/back/"
same_tree "$WORK/copy" "$WORK/back"
stop_proxy
echo "$(find "$WORK/served" -type f | wc -l) files are the same, there and back"
