#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Self-test of scripts/check_umbrella.sh: a public header that the umbrella does not reach must be reported by name.
# usage: check_umbrella_finds_faults.sh <source directory> <scratch directory>. Run by ctest.
set -eu
source_dir=$1 scratch=$2

rm -rf "$scratch"
mkdir -p "$scratch"
cp -R "$source_dir/include" "$scratch/include"
echo '#pragma once' >"$scratch/include/coproc/forgotten.hpp"
if sh "$source_dir/scripts/check_umbrella.sh" "$scratch/include" >"$scratch/output" 2>&1; then
  echo "a forgotten header went unnoticed"
  exit 1
fi
grep -q '^coproc/forgotten.hpp is not reachable' "$scratch/output"

# Reachable through another header is enough.
echo '#include <coproc/forgotten.hpp>' >>"$scratch/include/coproc/error.hpp"
sh "$source_dir/scripts/check_umbrella.sh" "$scratch/include"
rm -rf "$scratch"
