#!/usr/bin/env bash
# curl gets the page and all its pictures through the proxy, byte for byte as from the server itself: from an
# HTTP/1.0 and an HTTP/1.1 server, one connection a file, one connection for all, and many connections at once.
# Debian packages: curl iproute2
source "$(dirname "$0")/lib.sh"
need curl ss=iproute2

# fetch FOLDER PORT FILE...: one curl, which keeps its connection if the server does. Sets CONNECTIONS to the
# number of connections it made.
fetch() {
  local folder=$WORK/$1 port=$2 file urls=()
  shift 2
  mkdir -p "$folder"
  for file in "$@"; do urls+=(-o "$folder/_${file//[^a-z0-9.]/_}" "http://localhost:$port/$file"); done
  within 120 curl -sS --fail --noproxy '*' --no-progress-meter -w '%{num_connects}\n' "${FETCH_OPTIONS[@]}" \
    "${urls[@]}" >"$WORK/connections"
  CONNECTIONS=$(awk '{ sum += $1 } END { print sum }' "$WORK/connections")
}

same_folder() { diff -r "$WORK/$1" "$WORK/$2" >&2 || fail "$1 and $2 differ"; }

status_of() { curl -sS --noproxy '*' -o "$WORK/answer" -w '%{http_code}' "$@"; }

for http in 1.0 1.1; do
  start_origin --http "$http"
  FETCH_OPTIONS=(--http1.1)
  fetch page "$ORIGIN_PORT" ''
  mapfile -t images < <(grep -o 'image/[a-z]*\.png' "$WORK/page/_" | sort -u)
  ((${#images[@]} >= 8)) || fail "only ${#images[@]} pictures on the page"
  files=('' "${images[@]}" 'large?bytes=0' 'large?bytes=1' 'large?bytes=100000000')
  fetch "direct$http" "$ORIGIN_PORT" "${files[@]}"

  # By name, because a user types a name.
  start_proxy localhost "$ORIGIN_PORT"
  for file in "${files[@]}"; do fetch "single$http" "$PROXY_PORT" "$file"; done
  same_folder "direct$http" "single$http"
  fetch "kept$http" "$PROXY_PORT" "${files[@]}"
  same_folder "direct$http" "kept$http"
  same "connections for all files" "$([[ $http == 1.1 ]] && echo 1 || echo ${#files[@]})" "$CONNECTIONS"
  same "status of a missing page" 404 "$(status_of "http://localhost:$PROXY_PORT/nothing")"
  same "status of HEAD" 200 "$(status_of --head "http://localhost:$PROXY_PORT/large?bytes=1000000000000")"
  stop_proxy

  start_proxy localhost "$ORIGIN_PORT" --max-clients 64
  FETCH_OPTIONS+=(--parallel --parallel-immediate --parallel-max 16)
  fetch "parallel$http" "$PROXY_PORT" "${files[@]}"
  same_folder "direct$http" "parallel$http"
  stop_proxy
  echo "HTTP/$http: ${#files[@]} files equal in three ways"
done
