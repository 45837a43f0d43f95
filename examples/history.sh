#!/bin/sh
# The main job on mail that is there: imports this repository's own history as mail, lists it, reads a message back,
# exports all of it, compares, verifies. Needs git and a Rust toolchain. The store is left in target/history.
set -eu
cd "$(dirname "$0")/.."
out=target/history
rm -rf "$out" && mkdir -p "$out"
cargo build --release --quiet --features cli
mailkeep=${CARGO_TARGET_DIR:-target}/release/mailkeep

git format-patch --stdout --root HEAD >"$out/history.mbox"
"$mailkeep" import "$out/store" --account history@example.org "$out/history.mbox"
"$mailkeep" list "$out/store" --account history@example.org --mailbox INBOX | tail -n 5
"$mailkeep" show "$out/store" --account history@example.org --uid 1 | head -n 4
"$mailkeep" export "$out/store" --account history@example.org --mailbox INBOX --format eml "$out/eml"
"$mailkeep" verify "$out/store"
"$mailkeep" stat "$out/store"
# Taken apart by git and by mailkeep, the messages are the same bytes. git leaves what belongs to the mbox and not to the
# message: the From_ line, and the blank line before the next.
mkdir "$out/split" && git mailsplit --keep-cr -o"$out/split" "$out/history.mbox" >/dev/null
(cd "$out/split" && for file in *; do sed -e 1d -e '$d' "$file"; done) | git hash-object --stdin >"$out/by-git"
(cd "$out/eml" && ls | sort -n | xargs cat) | git hash-object --stdin >"$out/by-mailkeep"
cmp "$out/by-git" "$out/by-mailkeep" && echo "every message came back byte for byte"
