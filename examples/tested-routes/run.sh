#!/usr/bin/env bash
# Tests the configuration and says what to try. `run.sh --check` runs the commands of README.md instead, compares what they print, and
# exits with 0 or 1. Environment: FYKE (the binary).
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../.run.sh"

# Its commands are of `fyke`, and of the example's folder.
execute() {
    (fyke() { "$fyke" "$@"; }; export fyke; export -f fyke; bash -c "$1" 2>&1 </dev/null)
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
