#!/usr/bin/env bash
# Starts two proxies that share their limits by one Redis, and says what to try. `run.sh --check` runs the commands of README.md on free
# ports instead, compares what they print, stops everything, and exits with 0 or 1.
# Environment: FYKE (the binary), REDIS_SERVER (redis-server, started where none is there), PORT (8080) and PORT_2 (8081, of the proxies), ADMIN_PORT (9900) and
# ADMIN_PORT_2 (9901), REDIS_PORT (6379).
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../.run.sh"

begin

port=${PORT:-8080} port_2=${PORT_2:-8081} admin=${ADMIN_PORT:-9900} admin_2=${ADMIN_PORT_2:-9901} redis=${REDIS_PORT:-6379}
if [[ ${1:-} == --check ]]; then
    read -r port port_2 admin admin_2 redis < <(free_ports 5)
fi
ports=(-e "s/\b8080\b/$port/g" -e "s/\b8081\b/$port_2/g" -e "s/\b9900\b/$admin/g" -e "s/\b9901\b/$admin_2/g" -e "s/\b6379\b/$redis/g")
# The second one is the same on other ports.
mkdir "$work/one" "$work/two"
sed "${ports[@]}" proxy.yaml >"$work/one/proxy.yaml"
sed -e 's/8080/8081/' -e 's/9900/9901/' proxy.yaml | sed "${ports[@]}" >"$work/two/proxy.yaml"

refuse_taken PORT="$port" PORT_2="$port_2" ADMIN_PORT="$admin" ADMIN_PORT_2="$admin_2"

if listens "$redis"; then
    echo "Redis is the one that listens on port $redis already."
else
    server=${REDIS_SERVER:-redis-server}
    command -v "$server" >/dev/null || { echo "there is no redis-server: apt-get install redis-server" >&2; exit 1; }
    "$server" --port "$redis" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >/dev/null &
    pids+=($!)
    await "$redis" $!
fi

# Sessions of their own: Ctrl-C reaches this script, which then asks the proxies to end.
setsid "$fyke" --log "${FYKE_LOG:-warn}" run "$work/one/proxy.yaml" &
one=$!
setsid "$fyke" --log "${FYKE_LOG:-warn}" run "$work/two/proxy.yaml" &
two=$!
pids+=("$one" "$two")
await "$port" "$one"
await "$admin" "$one"
await "$port_2" "$two"
await "$admin_2" "$two"

if [[ ${1:-} == --check ]]; then
    check
else
    sed "${ports[@]}" <<'TRY'
The proxies listen on ports 8080 and 8081, Redis on port 6379. Ctrl-C ends what was started here.

Try:     curl -H 'x-tenant: blue' http://127.0.0.1:8080/
Prints:  hello
TRY
    wait "$one" "$two"
fi
