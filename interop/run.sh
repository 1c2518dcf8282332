#!/usr/bin/env bash
# Runs real programs through the proxy: all scripts of this folder, or those named, such as `interop/run.sh curl git`,
# or given by their path, such as `interop/run.sh deploy/tests/*.sh`.
# One line for each says ok or FAILED; the status is not zero if one failed. The release build must exist:
#     cargo build --release -p tcpproxy -p proxyspec -p webproxy
# LOGS (default target/interop) is the folder of the output, SCREENSHOTS (default $LOGS/screenshots) that of the pictures.
# LIMIT (default 1800) is the most seconds for a script. Each script says which sizes can be set for it.
# Debian packages: apt-get install $(cat interop/packages.txt)
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
LOGS=${LOGS:-${CARGO_TARGET_DIR:-$HERE/../target}/interop}
mkdir -p "$LOGS"
LOGS=$(cd "$LOGS" && pwd)
export SCREENSHOTS=${SCREENSHOTS:-$LOGS/screenshots}

scripts=("$@")
if ((${#scripts[@]} == 0)); then
  for script in "$HERE"/*.sh; do
    name=$(basename "$script" .sh)
    [[ $name == lib || $name == run || $name == demo || $name == *-bench ]] || scripts+=("$name")
  done
fi

failed=0
running=
trap 'kill $running; wait; exit 130' INT TERM
for name in "${scripts[@]}"; do
  script=$HERE/$name.sh
  [[ $name != */* ]] || script=$name name=$(basename "$name" .sh)
  log=$LOGS/$name.log
  start=$SECONDS
  # In the background, so that Ctrl-C reaches this script at once; timeout passes the signal on.
  timeout --kill-after=20 "${LIMIT:-1800}" "$script" >"$log" 2>&1 &
  running=$!
  status=0
  wait "$running" || status=$?
  if ((status == 0)); then
    printf '%-14s ok      %4d s\n' "$name" $((SECONDS - start))
  else
    ((status != 124)) || echo "run.sh: stopped after ${LIMIT:-1800} seconds" >>"$log"
    printf '%-14s FAILED  %4d s  %s\n' "$name" $((SECONDS - start)) "$log"
    failed=$((failed + 1))
  fi
done
((failed == 0)) || echo "$failed of ${#scripts[@]} failed"
exit $((failed > 0))
