#!/usr/bin/env bash
# Starts a file server, a service, and the proxy before both, and says what to try. `run.sh --check` runs the commands
# of README.md on free ports instead, compares what they print, stops everything, and exits with 0 or 1.
# Environment: FYKE (the binary), PORT (8080, of the proxy), ADMIN_PORT (9900), SITE_PORT (3000), API_PORT (3001).
set -euo pipefail

fyke=${FYKE:+$(realpath "$FYKE")}
cd "$(dirname "${BASH_SOURCE[0]}")"
for built in ../../target/release/fyke ../../target/debug/fyke; do
    [[ -n $fyke || ! -x $built ]] || fyke=$(realpath "$built")
done
[[ -n $fyke ]] || { echo "there is no binary: run \`cargo build --release\`, or set FYKE" >&2; exit 1; }

work=$(mktemp -d)
pids=()
stop() {
    [[ ${#pids[@]} -eq 0 ]] || kill "${pids[@]}" 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

port=${PORT:-8080} admin=${ADMIN_PORT:-9900} site=${SITE_PORT:-3000} api=${API_PORT:-3001}
if [[ ${1:-} == --check ]]; then
    read -r port admin site api < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
ports = [socket.getsockname()[1] for socket in sockets]
for socket in sockets: socket.close()
print(*ports)')
fi
ports=(-e "s/\b8080\b/$port/g" -e "s/\b9900\b/$admin/g" -e "s/\b3000\b/$site/g" -e "s/\b3001\b/$api/g")
config=proxy.yaml
if [[ "$port $admin $site $api" != '8080 9900 3000 3001' ]]; then
    config=$work/proxy.yaml
    sed "${ports[@]}" -e 's/0\.0\.0\.0/127.0.0.1/' proxy.yaml >"$config"
fi

listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

for setting in PORT="$port" ADMIN_PORT="$admin" SITE_PORT="$site" API_PORT="$api"; do
    ! listens "${setting#*=}" || { echo "port ${setting#*=} is taken: choose another one with ${setting%%=*}=" >&2; exit 1; }
done

# Waits until something listens on a port, or until the process that should does not run any more.
await() {
    local deadline=$((SECONDS + 60))
    until listens "$1"; do
        kill -0 "$2" 2>/dev/null || { echo "what should listen on port $1 has ended" >&2; exit 1; }
        ((SECONDS < deadline)) || { echo "nothing listens on port $1" >&2; exit 1; }
        sleep 0.05
    done
}

# Runs each "$ command" of README.md. The lines below it are what it must print; "..." stands for anything.
check() {
    local line command='' expected='' failed=0
    while IFS= read -r line; do
        if [[ -n $command && ($line == '$ '* || $line == '```') ]]; then
            try "$command" "$expected" || failed=1
            command='' expected=''
        fi
        if [[ $line == '$ '* ]]; then
            command=${line#'$ '}
        elif [[ -n $command ]]; then
            expected+=$line$'\n'
        fi
    done < <(sed "${ports[@]}" README.md)
    return $failed
}

try() {
    local actual pattern deadline=$((SECONDS + 5))
    pattern=$(sed 's/[][\\*?]/\\&/g; s/\.\.\./*/g' <<<"$2")
    until actual=$(cd "$work" && bash -c "$1" 2>&1 </dev/null) || true; [[ $actual == $pattern ]]; do
        if ((SECONDS >= deadline)); then
            printf 'FAILED  %s\nexpected:\n%s\ngot:\n%s\n' "$1" "$2" "$actual" >&2
            return 1
        fi
        sleep 0.1
    done
    printf 'ok  %s\n' "$1"
}

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
