#!/usr/bin/env bash
# PostgreSQL: pgbench with several clients, then COPY of a large table out and in, all through the proxy, in front of a
# private cluster. PGBENCH_TRANSACTIONS (default 500) is for each client, COPY_ROWS (default 1000000) for the table.
# Debian packages: postgresql util-linux iproute2
source "$(dirname "$0")/lib.sh"
# Debian keeps the server's programs out of PATH, in a folder for each version.
for bin in /usr/lib/postgresql/*/bin; do PATH=$bin:$PATH; done
need initdb=postgresql postgres=postgresql psql=postgresql-client pgbench=postgresql setpriv=util-linux ss=iproute2

CLIENTS=8
TRANSACTIONS=${PGBENCH_TRANSACTIONS:-500}
ROWS=${COPY_ROWS:-1000000}

# PostgreSQL refuses to run as root.
as_owner=()
if ((EUID == 0)); then
  id postgres >"$WORK/id.out" || fail "no user postgres; try: apt-get install postgresql"
  as_owner=(setpriv --reuid=postgres --regid=postgres --init-groups)
  chmod 711 "$WORK"
  install -d -o postgres "$WORK/cluster"
fi
unset "${!PG@}"
export PGHOST=127.0.0.1 PGUSER=owner PGDATABASE=postgres PGCONNECT_TIMEOUT=20

cd /
"${as_owner[@]}" initdb --pgdata="$WORK/cluster" --username=owner --auth=trust --no-sync --encoding=UTF8 --no-locale \
  >"$WORK/initdb.out"
server_port=$(free_port)
start_listening postgres "$server_port" "${as_owner[@]}" postgres -D "$WORK/cluster" -p "$server_port" \
  -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off
wait_until "PostgreSQL takes queries" pg_isready --quiet --port="$server_port"

direct() { within 120 psql --port="$server_port" --no-psqlrc --quiet -v ON_ERROR_STOP=1 -At "$@"; }
proxied() { within 300 psql --port="$PROXY_PORT" --no-psqlrc --quiet -v ON_ERROR_STOP=1 -At "$@"; }

# pgbench fills its tables with COPY through the default proxy, which serves one client at a time.
start_proxy 127.0.0.1 "$server_port"
within 120 pgbench --port="$PROXY_PORT" --initialize --scale=5 --quiet 2>"$WORK/pgbench-init.err"
stop_proxy
start_proxy 127.0.0.1 "$server_port" --max-clients 0
# Each transaction leaves a line in the history, which --no-vacuum keeps from being emptied before the second run.
for protocol in simple prepared; do
  within 300 pgbench --port="$PROXY_PORT" --client="$CLIENTS" --jobs=2 --transactions="$TRANSACTIONS" \
    --protocol="$protocol" --no-vacuum >"$WORK/pgbench-$protocol.out" 2>"$WORK/pgbench-$protocol.err"
  grep -E '^(tps|number of transactions actually)' "$WORK/pgbench-$protocol.out"
  grep -q "processed: $((CLIENTS * TRANSACTIONS))/$((CLIENTS * TRANSACTIONS))$" "$WORK/pgbench-$protocol.out" ||
    fail "pgbench has not done all transactions"
done
same "transactions in the history" $((2 * CLIENTS * TRANSACTIONS)) "$(direct -c 'SELECT count(*) FROM pgbench_history')"
same "money" "$(direct -c 'SELECT sum(delta) FROM pgbench_history')" \
  "$(direct -c 'SELECT sum(abalance) FROM pgbench_accounts')"
stop_proxy

start_proxy 127.0.0.1 "$server_port"
proxied -c "CREATE TABLE big AS SELECT id, md5(id::text) AS hash, repeat(md5((-id)::text), 1 + id % 5) AS filling
  FROM generate_series(1, $ROWS) AS id" -c "CREATE TABLE copy (LIKE big)"
proxied -c "COPY (SELECT * FROM big ORDER BY id) TO STDOUT" >"$WORK/through"
direct -c "COPY (SELECT * FROM big ORDER BY id) TO STDOUT" >"$WORK/direct"
same_file "$WORK/direct" "$WORK/through"
proxied -c "COPY copy FROM STDIN" <"$WORK/through"
direct -c "COPY (SELECT * FROM copy ORDER BY id) TO STDOUT" >"$WORK/back"
same_file "$WORK/direct" "$WORK/back"
same "rows" "$ROWS" "$(direct -c 'SELECT count(*) FROM copy')"
stop_proxy
echo "a table of $(wc -c <"$WORK/through") bytes is the same out and in"
