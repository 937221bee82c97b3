#!/usr/bin/env bash
# Starts a file server, a service, and the proxy before both, and says what to try. `run.sh --check` runs the commands
# of README.md on free ports instead, compares what they print, stops everything, and exits with 0 or 1.
# Environment: FYKE (the binary), PORT (8080, of the proxy), ADMIN_PORT (9900), SITE_PORT (3000), API_PORT (3001).
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../.run.sh"

begin
patience=5

port=${PORT:-8080} admin=${ADMIN_PORT:-9900} site=${SITE_PORT:-3000} api=${API_PORT:-3001}
if [[ ${1:-} == --check ]]; then
    read -r port admin site api < <(free_ports 4)
fi
ports=(-e "s/\b8080\b/$port/g" -e "s/\b9900\b/$admin/g" -e "s/\b3000\b/$site/g" -e "s/\b3001\b/$api/g")
config=proxy.yaml
if [[ "$port $admin $site $api" != '8080 9900 3000 3001' ]]; then
    config=$work/proxy.yaml
    sed "${ports[@]}" -e 's/0\.0\.0\.0/127.0.0.1/' proxy.yaml >"$config"
fi

refuse_taken PORT="$port" ADMIN_PORT="$admin" SITE_PORT="$site" API_PORT="$api"

python3 -m http.server --bind 127.0.0.1 --directory site "$site" >/dev/null 2>&1 &
pids+=($!)
await "$site" $!
python3 api.py "$api" &
pids+=($!)
await "$api" $!

# A session of its own: Ctrl-C reaches this script, which then asks the proxy to end.
setsid "$fyke" --log "${FYKE_LOG:-warn}" run "$config" &
proxy=$!
pids+=("$proxy")
await "$port" "$proxy"

if [[ ${1:-} == --check ]]; then
    check
else
    sed "${ports[@]}" <<TRY
The proxy listens on port 8080, its admin endpoint on 9900; the site is on port 3000, the service on 3001.
One line for each request: $(realpath "$(dirname "$config")")/requests.log. Ctrl-C ends everything.

Try:     curl http://127.0.0.1:8080/api/todos
Prints:  ["mend the net"]
TRY
    wait "$proxy"
fi
