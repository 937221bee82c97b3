#!/usr/bin/env bash
# Does what systemd would do with fyke.socket and fyke.service, on free ports and in a temporary folder, while clients ask without
# pause: start, reload, restart, take over, stop. Ends by itself, with 0 or 1. `--check` is the same.
# Environment: FYKE (the binary).
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../.run.sh"

exec python3 manager.py "$fyke"
