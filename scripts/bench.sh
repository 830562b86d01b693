#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Builds the benchmarks of coproc and prints one table; installs what is missing first, see setup.sh. What is measured,
# and how, is said at the top of benchmarks/round_trip.cpp.
# usage: bench.sh [--quick] [--out FILE]    (FILE gets the same as JSON; benchmarks/results/ is the place for it)
set -eu
caller=$PWD
cd "$(dirname "$0")/.."

usage() { echo "usage: bench.sh [--quick] [--out FILE]" >&2; exit 2; }
quick=
out=
while [ $# -gt 0 ]; do
  case $1 in
  --quick) quick=--quick ;;
  --out)
    [ $# -ge 2 ] || usage
    shift
    case $1 in /*) out=$1 ;; *) out=$caller/$1 ;; esac
    mkdir -p "$(dirname "$out")"
    ;;
  *) usage ;;
  esac
  shift
done

sh scripts/setup.sh release
echo "coproc: building the benchmarks in build/release"
cmake --build --preset release --target coproc.benchmarks

set -- --commit "$(git describe --always --dirty 2>/dev/null || echo unknown)"
if [ -n "$quick" ]; then set -- "$@" --quick; fi
if [ -n "$out" ]; then set -- "$@" --out "$out"; fi
if command -v python3 >/dev/null 2>&1; then set -- "$@" --python-script benchmarks/process_pool_executor.py; fi
exec build/release/benchmarks/coproc.bench.round_trip "$@"
