#!/usr/bin/env bash
# Tests the extension for VS Code: its grammar and its own code, and that it can be packaged. Gets its tools by npm, at the
# versions of the lock file. The package is written to the folder that is given, or to a temporary one.
set -euo pipefail
out=$(realpath -m "${1:-$(mktemp -d)}")
cd "$(dirname "${BASH_SOURCE[0]}")/vscode"
mkdir -p "$out"
npm ci --no-audit --no-fund --loglevel=error
npm test
npm run --silent package -- --out "$out/mlp.vsix"
