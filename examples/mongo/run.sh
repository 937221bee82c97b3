#!/usr/bin/env bash
# Starts the proxy before a MongoDB server, and says what to try. `run.sh --check` runs the commands of README.md on free ports
# instead, compares what they print, stops everything, and exits with 0 or 1.
# Environment: FYKE (the binary), MONGO_SERVER (the server that is started where none is there), PORT (27018, of the proxy), MONGO_PORT (27017, of the server),
# ADMIN_PORT (9900, of the admin endpoint).
set -euo pipefail

server=${MONGO_SERVER:+$(realpath "$MONGO_SERVER")}
source "$(dirname "${BASH_SOURCE[0]}")/../.run.sh"
for built in ../../target/release/mongo-server ../../target/debug/mongo-server; do
    [[ -n $server || ! -x $built ]] || server=$(realpath "$built")
done

begin

port=${PORT:-27018} mongo=${MONGO_PORT:-27017} admin=${ADMIN_PORT:-9900}
if [[ ${1:-} == --check ]]; then
    read -r port mongo admin < <(free_ports 3)
fi
export SHOP=127.0.0.1:$port
ports=(-e "s/\b27018\b/$port/g" -e "s/\b27017\b/$mongo/g" -e "s/\b9900\b/$admin/g")
# The commands of README.md are for the repository's root.
mkdir "$work/examples"
ln -s "$PWD" "$work/examples/mongo"
config=$work/proxy.yaml
sed "${ports[@]}" proxy.yaml >"$config"

refuse_taken PORT="$port" ADMIN_PORT="$admin"

if listens "$mongo"; then
    echo "The server is the one that listens on port $mongo already."
else
    if [[ -z $server ]]; then
        cargo build --quiet --release --manifest-path ../../Cargo.toml --package fyke-mongo-server
        server=$(realpath ../../target/release/mongo-server)
    fi
    "$server" --port "$mongo" >/dev/null &
    pids+=($!)
    await "$mongo" $!
fi

# A session of its own: Ctrl-C reaches this script, which then asks the proxy to end.
setsid "$fyke" --log "${FYKE_LOG:-warn}" run "$config" &
proxy=$!
pids+=("$proxy")
await "$port" "$proxy"
await "$admin" "$proxy"

if [[ ${1:-} == --check ]]; then
    check
else
    sed "${ports[@]}" <<'TRY'
The proxy listens on port 27018, the server behind it on port 27017. Ctrl-C ends what was started here.

Try:     examples/mongo/shop.py put 3
Prints:  3 orders are there
TRY
    wait "$proxy"
fi
