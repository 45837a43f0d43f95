#!/bin/sh
# Builds `peers` and runs it with the arguments given: see README.md. RocksDB takes part where Debian's library is there
# (apt-get install librocksdb-dev libclang-dev): nothing builds it from source.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$here/../../target/peers}"
build() { cargo build --manifest-path "$here/Cargo.toml" --locked --release --quiet "$@"; }
library=$(dpkg -L librocksdb-dev 2>/dev/null | grep '/librocksdb\.so$' || true)
if [ -n "$library" ]; then
    ROCKSDB_LIB_DIR=$(dirname "$library")
    ROCKSDB_INCLUDE_DIR=/usr/include
    PEERS_ROCKSDB=$(dpkg-query -W -f '${Version}' librocksdb-dev)
    export ROCKSDB_LIB_DIR ROCKSDB_INCLUDE_DIR PEERS_ROCKSDB
    build --features rocksdb
else
    echo "run.sh: librocksdb-dev is not installed: RocksDB is left out" >&2
    build
fi
exec "$CARGO_TARGET_DIR/release/peers" "$@"
