#!/usr/bin/env bash
# Builds the filter and runs Fyke with it. `run.sh --check` does so on a free port, compares what the commands print, and ends.
# Environment: FYKE (the binary).
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../.run.sh"

cargo build --quiet --profile filter --target wasm32-wasip1 --target-dir ../../target/filters

if [[ ${1:-} != --check ]]; then
    echo 'Try:    curl http://127.0.0.1:8080/hello'
    echo 'Prints: ahoy!'
    exec "$fyke" run proxy.yaml
fi

work=$(mktemp -d)
proxy=
stop() {
    [[ -z $proxy ]] || kill "$proxy" 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap stop EXIT
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
sed -e "s/8080/$port/" -e "s|module: \.\./\.\.|module: $(realpath ../..)|" proxy.yaml >"$work/proxy.yaml"
"$fyke" --log warn run "$work/proxy.yaml" &
proxy=$!
for _ in $(seq 200); do
    ! answer=$(curl -s "http://127.0.0.1:$port/hello") || break
    kill -0 "$proxy" || exit 1
    sleep 0.05
done
[[ $answer == 'ahoy!' ]] || { echo "FAILED: /hello answered '$answer'" >&2; exit 1; }
signed=$(curl -si "http://127.0.0.1:$port/elsewhere" | tr -d '\r' | grep -x 'x-hello: ahoy') || true
[[ $signed == 'x-hello: ahoy' ]] || { echo "FAILED: another path is not signed" >&2; exit 1; }
echo "ok"
