#!/usr/bin/env bash
# Gets what cargo cannot (libtorch and the Python-to-WebAssembly compiler, both with pip), then builds and installs mlp.
# A second run fetches nothing. Usage: runners/setup.sh [--tools-only]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TORCH=2.11.0
COMPONENTIZE=0.25.1
share="${XDG_DATA_HOME:-$HOME/.local/share}/mlp"
python="${PYTHON:-python3}"

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n  help: %s\n' "$1" "$2" >&2; exit 3; }

command -v "$python" >/dev/null || fail "python3 is not on the PATH" "install Python 3.10 or newer with pip"
command -v cargo >/dev/null || fail "cargo is not on the PATH" "install Rust 1.95 with rustup"
command -v c++ >/dev/null || fail "no C++ compiler found" "install g++ or clang"

# Takes from an unpacked `torch` package what the CPU needs: building against a folder that also holds
# libtorch_cuda.so would link the worker to CUDA, and it must start on machines that have none.
trim_libtorch() { # FROM (torch package)  TO (folder)  HOW (mv | "ln -s")
  local from=$1 to=$2 how=$3
  mkdir -p "$to/lib"
  $how "$from/include" "$to/include"
  $how "$from/lib/libtorch_cpu.so" "$from/lib/libc10.so" "$to/lib/"
  local gomp
  for gomp in "$from"/lib/libgomp*.so*; do [ -e "$gomp" ] && $how "$gomp" "$to/lib/"; done
  echo 'INPUT(libtorch_cpu.so libc10.so)' >"$to/lib/libtorch.so"
  echo "$TORCH" >"$to/build-version"
}

libtorch="$share/libtorch-$TORCH"
get_libtorch() {
  local work=$share/.libtorch-$$ wheels
  rm -rf "$work"; mkdir -p "$work"
  trap 'rm -rf "$work"' RETURN
  say "getting libtorch $TORCH with pip (about 530 MB, once)"
  wheels="$work/wheels"
  "$python" -m pip download --quiet --no-deps --dest "$wheels" "torch==$TORCH" 'nvidia-cuda-runtime>=13,<14' 'nvidia-cuda-cupti>=13,<14' \
    || fail "pip could not download libtorch $TORCH" "check the network and pip's index settings (pip config list), then run this again"
  local wheel
  for wheel in "$wheels"/*.whl; do
    "$python" - "$wheel" "$work/unpacked" <<'PY'
import sys, zipfile
wheel, target = sys.argv[1:]
keep = ("torch/include/", "torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp",
        "nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/lib/libcupti.so.13")
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(target, [name for name in archive.namelist() if name.startswith(keep)])
PY
  done
  trim_libtorch "$work/unpacked/torch" "$work/libtorch" mv
  find "$work/unpacked" \( -name 'libcudart.so.13' -o -name 'libcupti.so.13' \) -exec mv {} "$work/libtorch/lib/" \;
  mv -T "$work/libtorch" "$libtorch"
}
[ -e "$libtorch/build-version" ] || get_libtorch
mkdir -p .tools
ln -sfn "$libtorch" .tools/libtorch

componentize="$share/componentize-py-$COMPONENTIZE"
get_componentize() {
  say "getting componentize-py $COMPONENTIZE with pip (once)"
  rm -rf "$componentize"
  "$python" -m venv "$componentize" \
    || fail "python3 cannot make virtual environments" "install Python's venv (python3-venv on Debian), then run this again"
  "$componentize/bin/python" -m pip install --quiet "componentize-py==$COMPONENTIZE" \
    || { rm -rf "$componentize"; fail "pip could not install componentize-py $COMPONENTIZE" "check the network and pip's index settings (pip config list), then run this again"; }
}
[ -x "$componentize/bin/componentize-py" ] || get_componentize

# What only the tests need: the validator that checks SARIF by its own schema.
SARIF=5.7.0
sarif="$share/sarif-multitool-$SARIF"
get_sarif_validator() {
  command -v npm >/dev/null || fail "npm is not on the PATH" "install Node.js with npm: the tests of SARIF need its validator"
  say "getting the SARIF validator $SARIF with npm (once)"
  rm -rf "$sarif.new"; mkdir -p "$sarif.new"
  npm install --silent --no-fund --no-audit --prefix "$sarif.new" "@microsoft/sarif-multitool-linux@$SARIF" \
    || fail "npm could not install the SARIF validator" "check the network and npm's settings, then run this again"
  rm -rf "$sarif"; mv -T "$sarif.new" "$sarif"
}
if [ "${1:-}" = --tools-only ]; then
  [ -d "$sarif" ] || get_sarif_validator
  exit 0
fi

say "building mlp and its torch worker"
cargo build --locked --workspace --bins
bin="${CARGO_HOME:-$HOME/.cargo}/bin"
mkdir -p "$bin"
for program in mlp mlp-torch; do
  install -m 755 "target/debug/$program" "$bin/.$program.new" && mv "$bin/.$program.new" "$bin/$program"
done
say "installed mlp and mlp-torch in $bin"
