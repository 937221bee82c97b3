#!/usr/bin/env bash
# Starts a small application and the proxy before it, and says what to try. `run.sh --check` runs the commands of
# README.md on free ports instead, compares what they print, stops everything, and exits with 0 or 1.
# Environment: FYKE (the binary), PORT (8080, of the proxy), APP_PORT (3000, of the application).
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../.run.sh"

begin
patience=5

port=${PORT:-8080} app=${APP_PORT:-3000}
if [[ ${1:-} == --check ]]; then
    read -r port app < <(free_ports 2)
fi
ports=(-e "s/\b8080\b/$port/g" -e "s/\b3000\b/$app/g")
config=proxy.yaml
if [[ $port != 8080 || $app != 3000 ]]; then
    config=$work/proxy.yaml
    sed "${ports[@]}" -e 's/0\.0\.0\.0/127.0.0.1/' proxy.yaml >"$config"
fi

refuse_taken PORT="$port" APP_PORT="$app"

python3 - "$app" <<'PYTHON' &
import http.server, sys

class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"the app got {self.command} {self.path}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), App).serve_forever()
PYTHON
pids+=($!)
await "$app" $!

# A session of its own: Ctrl-C reaches this script, which then asks the proxy to end.
setsid "$fyke" --log "${FYKE_LOG:-warn}" run "$config" &
proxy=$!
pids+=("$proxy")
await "$port" "$proxy"

if [[ ${1:-} == --check ]]; then
    check
else
    sed "${ports[@]}" <<'TRY'
The proxy listens on port 8080, the application behind it on port 3000. Ctrl-C ends both.

Try:     curl http://127.0.0.1:8080/hello
Prints:  the app got GET /hello
TRY
    wait "$proxy"
fi
