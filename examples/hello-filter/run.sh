#!/bin/sh
# Builds the filter and runs Fyke with it.
set -eu
cd "$(dirname "$0")"

cargo build --profile filter --target wasm32-wasip1 --target-dir ../../filters/target
echo 'Try:    curl http://127.0.0.1:8080/hello'
echo 'Prints: ahoy!'
exec "${FYKE:-../../target/release/fyke}" run proxy.yaml
