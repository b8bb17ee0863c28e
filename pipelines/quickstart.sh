#!/usr/bin/env bash
# Sets mlp up, then runs the churn pipeline: from a CSV file to a released model, with its metrics on the screen.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
runners/setup.sh
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
mlp run pipelines/churn/churn.mlp
mlp show pipelines/churn/churn.mlp quality
mlp models
