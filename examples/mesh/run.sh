#!/usr/bin/env bash
# Starts a registry, three services, a proxy beside each, and the edge; waits until they have found each other, and says what to try.
# `run.sh --check` runs the commands of README.md on free ports instead, compares what they print, stops everything, and exits with 0 or 1.
# Environment: FYKE (the binary), PYTHON (python3), PORT (8080, of the edge and of each proxy), OUT_PORT (9000, of each proxy for its
# service), APP_PORT (3000, of the services), ADMIN_PORT (9900), REGISTRY_PORT (8900).
set -euo pipefail

python=$(command -v "${PYTHON:-${FYKE_PYTHON:-python3}}") || { echo "there is no ${PYTHON:-python3}" >&2; exit 1; }
python=$(realpath -s "$python")
source "$(dirname "${BASH_SOURCE[0]}")/../.run.sh"

begin
patience=15

port=${PORT:-8080} out=${OUT_PORT:-9000} app=${APP_PORT:-3000} admin=${ADMIN_PORT:-9900} registry=${REGISTRY_PORT:-8900}
if [[ ${1:-} == --check ]]; then
    read -r port out app admin registry < <(free_ports 5)
fi
ports=(-e "s/\b8080\b/$port/g" -e "s/\b9000\b/$out/g" -e "s/\b3000\b/$app/g" -e "s/\b9900\b/$admin/g" -e "s/\b8900\b/$registry/g")
# The commands of README.md are for the repository's root, and for the Python that runs the services.
mkdir "$work/examples"
ln -s "$PWD" "$work/examples/mesh"
export PATH=${python%/*}:$PATH PYTHONDONTWRITEBYTECODE=1

# As machines have it: the same ports everywhere, and each with an address of its own.
declare -A addresses=([shop]=127.0.0.11 [orders]=127.0.0.12 [stock]=127.0.0.13)
refuse_taken REGISTRY_PORT="$registry" PORT="$port" ADMIN_PORT="$admin"
for address in "${addresses[@]}"; do
    refuse_taken PORT="$address:$port" OUT_PORT="$address:$out" APP_PORT="$address:$app" ADMIN_PORT="$address:$admin"
done

setsid "$fyke" --log "${FYKE_LOG:-warn}" registry --open --address "127.0.0.1:$registry" &
pids+=($!)
await "$registry" $!

# Sessions of their own: Ctrl-C reaches this script, which then asks the proxies to end.
declare -A services=() proxies=()
for service in "${!addresses[@]}"; do
    address=${addresses[$service]}
    PYTHONPATH=client FYKE_OUT=$address:$out "$python" services.py "$service" "$address:$app" &
    services[$service]=$!
    mkdir "$work/$service"
    sed -e "s/shop-1/$service-1/; s/service: shop/service: $service/; s/127\.0\.0\.11/$address/g" proxy.yaml |
        sed "${ports[@]}" >"$work/$service/proxy.yaml"
    setsid "$fyke" --log "${FYKE_LOG:-warn}" run "$work/$service/proxy.yaml" &
    proxies[$service]=$!
    pids+=("${services[$service]}")
    # Proxies go first: they take their leave of the registry.
    first+=("${proxies[$service]}")
done
sed "${ports[@]}" edge.yaml >"$work/edge.yaml"
setsid "$fyke" --log "${FYKE_LOG:-warn}" run "$work/edge.yaml" &
edge=$!
first+=("$edge")
for service in "${!addresses[@]}"; do
    address=${addresses[$service]}
    await "$address:$app" "${services[$service]}"
    for listener in "$port" "$out" "$admin"; do
        await "$address:$listener" "${proxies[$service]}"
    done
done
await "$port" "$edge"
await "$admin" "$edge"

# Proxies ask the registry every second or two. First each has to know whom its service asks, and then a request has to come back from all three.
deadline=$((SECONDS + 60))
until_true() {
    until "$@"; do
        ((SECONDS < deadline)) || { echo "the services do not find each other: $*" >&2; exit 1; }
        sleep 0.1
    done
}
knows() {
    curl -s "http://$1:$admin/metrics" | grep -q "^fyke_cluster_endpoints{cluster=\"$2\",health=\"healthy\"} 1"
}
comes_back() {
    [[ $(curl -s "http://127.0.0.1:$port/" | grep -c ' trace ') == 3 ]]
}
until_true knows 127.0.0.1 shop
until_true knows "${addresses[shop]}" orders
until_true knows "${addresses[orders]}" stock
until_true comes_back

if [[ ${1:-} == --check ]]; then
    check
else
    sed "${ports[@]}" <<'TRY'
The edge listens on port 8080; shop, orders and stock are on 127.0.0.11, .12 and .13. Ctrl-C ends what was started here.
The dashboards: http://127.0.0.1:9900/dashboard/flow of the edge, http://127.0.0.11:9900/dashboard/flow of shop, and so on.

Try:     curl -H 'x-request-id: demo-1' http://127.0.0.1:8080/7
Prints:  a line of each service, with the proxies on the way to it
TRY
    wait "$edge"
fi
