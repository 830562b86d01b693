#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Builds coproc and runs all its tests; installs what is missing first, see setup.sh.
# usage: test.sh [preset [argument of ctest...]]        (default preset: release)
set -eu
cd "$(dirname "$0")/.."
preset=${1:-release}
[ $# -eq 0 ] || shift

sh scripts/setup.sh "$preset"
echo "coproc: building build/$preset"
cmake --build --preset "$preset"
ctest --preset "$preset" -j "$(($(nproc) + 1))" "$@" # some wait for most of their time
