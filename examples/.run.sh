# What the run.sh of examples have in common; sourced by them. Goes to the example's folder and finds the binary: FYKE, else a build's.
fyke=${FYKE:+$(realpath "$FYKE")}
cd "$(dirname "${BASH_SOURCE[1]}")"
for built in ../../target/release/fyke ../../target/debug/fyke; do
    [[ -n $fyke || ! -x $built ]] || fyke=$(realpath "$built")
done
[[ -n $fyke ]] || { echo "there is no binary: run \`cargo build --release\`, or set FYKE" >&2; exit 1; }

# A folder for work, and processes in pids, which end with the script; those in first end before them.
begin() {
    work=$(mktemp -d)
    pids=() first=()
    trap stop EXIT
    trap 'exit 130' INT TERM
}

stop() {
    if [[ ${#first[@]} -gt 0 ]]; then
        kill "${first[@]}" 2>/dev/null || true
        wait "${first[@]}" || true
    fi
    [[ ${#pids[@]} -eq 0 ]] || kill "${pids[@]}" 2>/dev/null || true
    wait
    rm -rf "$work"
}

# As many ports as nobody listens on now.
free_ports() {
    python3 -c '
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
ports = [socket.getsockname()[1] for socket in sockets]
for socket in sockets: socket.close()
print(*ports)' "$1"
}

# Whether somebody listens on a port of 127.0.0.1, or at ADDRESS:PORT; so in what follows.
listens() {
    local at=$1
    [[ $at == *:* ]] || at=127.0.0.1:$at
    (exec 3<>"/dev/tcp/${at%:*}/${at##*:}") 2>/dev/null
}

# Ends the script if somebody listens on one of these, each a variable and its port: PORT=8080
refuse_taken() {
    local setting
    for setting in "$@"; do
        ! listens "${setting#*=}" || { echo "port ${setting#*=} is taken: choose another one with ${setting%%=*}=" >&2; exit 1; }
    done
}

# Waits until something listens on a port, or until the process that should does not run any more.
await() {
    local deadline=$((SECONDS + 60))
    until listens "$1"; do
        kill -0 "$2" 2>/dev/null || { echo "what should listen on port $1 has ended" >&2; exit 1; }
        ((SECONDS < deadline)) || { echo "nothing listens on port $1" >&2; exit 1; }
        sleep 0.05
    done
}

# Changes the ports of README.md and the configuration into those in use: arguments of sed.
ports=()
# For how many seconds a command of README.md is tried again. Whatever counts or limits is tried once: a second time it would be something else.
patience=0

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
    done < <(sed -e '' "${ports[@]}" README.md)
    return $failed
}

# How a command is run.
execute() {
    (cd "$work" && bash -c "$1" 2>&1 </dev/null)
}

try() {
    local actual pattern deadline=$((SECONDS + patience))
    pattern=$(sed 's/[][\\*?]/\\&/g; s/\.\.\./*/g' <<<"$2")
    until actual=$(execute "$1") || true; [[ $actual == $pattern ]]; do
        if ((SECONDS >= deadline)); then
            printf 'FAILED  %s\nexpected:\n%s\ngot:\n%s\n' "$1" "$2" "$actual" >&2
            return 1
        fi
        sleep 0.1
    done
    printf 'ok  %s\n' "$1"
}
