#!/bin/sh
# Runs the benches and writes what they found into README.md, between its marks. For a machine on which nothing else runs;
# takes about five minutes on two processors once it is built, and 5 GB of room below MAILKEEP_BENCH_DIR, or below Cargo's target folder.
#
#   sh benches/readme.sh [--realtime]
#
# --realtime: under `chrt -f 1`, which must be allowed: for a virtual machine that is busy, where without it a sync waits for a
# tick of the scheduler. The figures stay in numbers.json in Cargo's target folder: the last command here makes the section from them.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
first= realtime=
if [ "${1:-}" = --realtime ]; then
    first="chrt -f 1" realtime=", with real-time priority (\`chrt -f 1\`)"
fi

cargo build --locked --example numbers
cargo bench --locked --no-run
export MAILKEEP_BENCH_JSON="$target/numbers.json"
rm -f "$MAILKEEP_BENCH_JSON"
for bench in deliver flags read scan open rebuild recover memory growth; do
    $first cargo bench --locked --bench "$bench" -- ratio
done

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
files=$(df --output=fstype "${MAILKEEP_BENCH_DIR:-$target}" | tail -n 1)
machine="$(LC_ALL=C date '+%-d %B %Y'), $(nproc) processors ($cpu), $files$realtime"
cargo run --locked --example numbers -- "$MAILKEEP_BENCH_JSON" README.md "$machine"
