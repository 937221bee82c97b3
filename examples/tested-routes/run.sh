#!/usr/bin/env bash
# Tests the configuration and says what to try. `run.sh --check` runs the commands of README.md instead, compares what they print, and
# exits with 0 or 1. Environment: FYKE (the binary).
set -euo pipefail

fyke=${FYKE:+$(realpath "$FYKE")}
cd "$(dirname "${BASH_SOURCE[0]}")"
for built in ../../target/release/fyke ../../target/debug/fyke; do
    [[ -n $fyke || ! -x $built ]] || fyke=$(realpath "$built")
done
[[ -n $fyke ]] || { echo "there is no binary: run \`cargo build --release\`, or set FYKE" >&2; exit 1; }

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
    done <README.md
    return $failed
}

try() {
    local actual pattern
    pattern=$(sed 's/[][\\*?]/\\&/g; s/\.\.\./*/g' <<<"$2")
    actual=$(fyke() { "$fyke" "$@"; }; export fyke; export -f fyke; bash -c "$1" 2>&1 </dev/null) || true
    if [[ $actual != $pattern ]]; then
        printf 'FAILED  %s\nexpected:\n%s\ngot:\n%s\n' "$1" "$2" "$actual" >&2
        return 1
    fi
    printf 'ok  %s\n' "$1"
}

if [[ ${1:-} == --check ]]; then
    check
else
    "$fyke" test proxy.yaml
    cat <<'TRY'

Try:     fyke explain --config examples/tested-routes/proxy.yaml http://api.example.com/v1/users/42
Prints:  the listener, each route that does not match and why, the cluster, and what its endpoints would be sent
TRY
fi
