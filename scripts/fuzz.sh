#!/usr/bin/env bash
# Fuzzes every parser of outside files (fuzz/input.h says how a fuzzer looks), one fuzzer a core, and prints a table.
#   fuzz.sh ci [NAME…]     the kept inputs of fuzz/corpus, then 10 seconds each
#   fuzz.sh long [NAME…]   10 minutes each; the inputs it finds stay in build/fuzz/corpus, where the next run goes on
# FUZZ_SECONDS sets the time. An input that fails stays as build/fuzz/findings/NAME-…: mend its kind with a test in
# tests/, and keep the input in fuzz/corpus/NAME.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/fuzz

# One fuzzer, one line of the table. Fails where there is a finding.
fuzz_one() {
  local mode=$1 name=$2 seconds=$3 log=$build/logs/$2.log found=$build/corpus/$2 failed=0
  [ "$mode" = long ] || found=$(mktemp -d)
  mkdir -p "$found" $build/logs $build/findings
  local options=(-max_total_time="$seconds" -timeout=100 -rss_limit_mb=2048 -malloc_limit_mb=1024 -max_len=16384
                 -close_fd_mask=3 -print_final_stats=1 -artifact_prefix="$build/findings/$name-")
  [ "$mode" = long ] || options+=(-seed=1)
  [ ! -f "fuzz/$name.dict" ] || options+=(-dict="fuzz/$name.dict")
  $build/bin/fuzz_"$name" "${options[@]}" "$found" fuzz/corpus/"$name" > "$log" 2>&1 || failed=1
  [ "$mode" = long ] || rm -rf "$found"
  local runs edges
  runs=$(sed -nE 's/^stat::number_of_executed_units: +//p' "$log")
  edges=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 | tr -dc 0-9)
  printf '%-18s %10s runs %7s edges   %s\n' "$name" "${runs:-?}" "${edges:-?}" \
    "$([ $failed = 0 ] && echo clean || echo "FINDING, see $log")"
  return $failed
}

if [ "${1:-}" = one ]; then
  shift
  fuzz_one "$@"
  exit
fi
mode=${1:?usage: fuzz.sh ci|long [NAME…]}
shift
case $mode in
  ci) seconds=${FUZZ_SECONDS:-10} ;;
  long) seconds=${FUZZ_SECONDS:-600} ;;
  *) echo "unknown '$mode' (expected ci or long)" >&2; exit 1 ;;
esac
names=("$@")
[ $# -gt 0 ] || mapfile -t names < <(cd fuzz && printf '%s\n' *_fuzz.cc | sed 's/_fuzz\.cc$//')
scripts/build_fuzz.sh "${names[@]/#/fuzz_}"
echo "== fuzzers: $seconds seconds each"
# In memory where there is such a place: some fuzzers write files.
TMPDIR=$(mktemp -d -p /dev/shm 2> /dev/null || mktemp -d)
export TMPDIR UBSAN_OPTIONS=print_stacktrace=1 LSAN_OPTIONS=suppressions=fuzz/leaks.supp:print_suppressions=0
trap 'rm -rf "$TMPDIR"' EXIT
printf '%s\n' "${names[@]}" | xargs -P "$(nproc)" -I '{}' scripts/fuzz.sh one "$mode" '{}' "$seconds"
