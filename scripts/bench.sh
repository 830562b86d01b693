#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Builds the benchmark of coproc and prints the whole table; installs what is missing first, see setup.sh. With --out also
# writes the results as JSON and draws the charts beside it. docs/performance.md says how it measures.
# usage: bench.sh [--quick] [--only ROW] [--out FILE.json]    (benchmarks/results/ is the place for FILE)
set -eu
caller=$PWD
cd "$(dirname "$0")/.."

usage() { echo "usage: bench.sh [--quick] [--only ROW] [--out FILE.json]" >&2; exit 2; }
command="sh scripts/bench.sh"
quick=
only=
out=
while [ $# -gt 0 ]; do
  case $1 in
  --quick) quick=--quick command="$command --quick" ;;
  --only)
    [ $# -ge 2 ] || usage
    shift
    only=$1 command="$command --only $1"
    ;;
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

sh scripts/setup.sh release bench
echo "coproc: building the benchmark in build/release"
cmake --build --preset release --target coproc.benchmarks

build=$PWD/build/release/benchmarks
piscina=$build/piscina
if command -v npm >/dev/null 2>&1 && ! cmp -s benchmarks/peers/piscina/package-lock.json "$piscina/installed"; then
  mkdir -p "$piscina"
  cp benchmarks/peers/piscina/package.json benchmarks/peers/piscina/package-lock.json "$piscina"
  echo "coproc: installing piscina with npm in build/release/benchmarks/piscina"
  if (cd "$piscina" && npm ci --no-audit --no-fund >npm.log 2>&1); then
    cp "$piscina/package-lock.json" "$piscina/installed"
  else
    echo "coproc: npm could not install piscina, see $piscina/npm.log"
  fi
fi

set -- --sources "$PWD/benchmarks" --build "$build" --command "$command"
set -- "$@" --commit "$(git describe --always --dirty 2>/dev/null || echo unknown)"
[ -z "$quick" ] || set -- "$@" --quick
[ -z "$only" ] || set -- "$@" --only "$only"
[ -z "$out" ] || set -- "$@" --out "$out"
"$build/coproc.bench" "$@"

[ -n "$out" ] || exit 0
if command -v python3 >/dev/null 2>&1 && command -v gnuplot >/dev/null 2>&1; then
  python3 benchmarks/charts.py "$out"
else
  echo "coproc: no charts: python3 or gnuplot is not installed"
fi
