#!/usr/bin/env bash
# Does what systemd would do with fyke.socket and fyke.service, on free ports and in a temporary folder, while clients ask without
# pause: start, reload, restart, take over, stop. Ends by itself, with 0 or 1. `--check` is the same.
# Environment: FYKE (the binary).
set -euo pipefail

fyke=${FYKE:+$(realpath "$FYKE")}
cd "$(dirname "${BASH_SOURCE[0]}")"
for built in ../../target/release/fyke ../../target/debug/fyke; do
    [[ -n $fyke || ! -x $built ]] || fyke=$(realpath "$built")
done
[[ -n $fyke ]] || { echo "there is no binary: run \`cargo build --release\`, or set FYKE" >&2; exit 1; }

exec python3 manager.py "$fyke"
