#!/usr/bin/env bash
# Fuzzes the compiler and the language server, guided by coverage: `dsl/fuzz/run.sh [SECONDS [TARGET ..]]`.
#
# Runs each target (text, edits, session) for its share of SECONDS (60), beginning with the committed corpus and the
# cases of the language suite. Fails on a panic, on what takes the processor over a second, and on more than 1 GiB of
# memory; the input is then kept under `target/fuzz/found`. With `MLP_FUZZ_KEEP=1`, what reached code that nothing else
# reaches goes into the corpus.
#
# It is libFuzzer, with LLVM's own instrumentation switched on by flags that stable Rust has.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(text edits session)
built=$(cd ../.. && pwd)/target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

# The same versions of everything as in the project itself.
cp ../../Cargo.lock Cargo.lock
# Named by `--target`, so that build scripts and macros, which run without the fuzzer, are left as they are.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares" \
  cargo build --release --target "$host" --target-dir "$built"

share=$((seconds / ${#targets[@]}))
for target in "${targets[@]}"; do
  run=$built/$host/release/$target
  known=$built/known/$target work=$built/work/$target log=$built/$target.log
  rm -rf "$known" && mkdir -p "$known" "$work" "$built/found" corpus/"$target"
  cp -r corpus/"$target"/. "$known"
  size=(-max_len=256 -len_control=5)
  if [ "$target" = text ]; then
    size=(-max_len=4096 -len_control=20)
    # Each case of the language suite is a text to begin with, without the marks of what it is expected to give.
    awk -v out="$known" '
      /^--- / { if (at) close(at); at = out "/case-" ++n; next }
      /^ *\/\/[~$]/ { next }
      { print > at }
    ' ../tests/cases/*.mlp
    cp ../../pipelines/*/*.mlp "$known"
  fi
  echo "fuzzing $target for $share s"
  "$run" "$work" "$known" -dict=mlp.dict "${size[@]}" -max_total_time="$share" -timeout=20 \
    -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$built/found/$target-" >"$log" 2>&1 || {
    tail -n 60 "$log"
    echo "$target: the input is kept under $built/found" >&2
    exit 1
  }
  grep -E '^(stat::number_of_executed_units|stat::peak_rss_mb|#[0-9]+\s+(INITED|DONE))' "$log"
  grep -q 'INITED cov: [1-9]' "$log" || { echo "$target: no coverage is seen" >&2; exit 1; }
  if [ -n "${MLP_FUZZ_KEEP:-}" ]; then
    ls "$known" >"$built/before"
    "$run" -merge=1 -use_counters=0 "${size[0]}" "$known" "$work" >>"$log" 2>&1
    for name in $(ls "$known" | grep -vxFf "$built/before"); do
      cp "$known/$name" corpus/"$target"
    done
  fi
done
