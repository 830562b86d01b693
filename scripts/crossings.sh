#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Follows one empty call through the front end, and counts how often it goes from a function of one file of coproc to
# one of another (a header and its body are one file), and through how many files. A measure of the house, not of speed:
# one worker, a warm pool, no optimisation, so that every function is called.
# usage: crossings.sh [INCLUDE_DIRECTORY]    (default: include; that of another checkout, to compare with)
set -eu
cd "$(dirname "$0")/.."
include=$(cd "${1:-include}" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cat >"$scratch/one_call.cpp" <<'END'
#include <coproc/coproc.hpp>
#include <cstdio>

namespace {
struct entry { void* from; void* to; };
entry entries[1 << 16];
void* stack[1 << 10];
int count = 0, depth = 0;
bool recording = false;
}

extern "C" {
[[gnu::no_instrument_function]] void __cyg_profile_func_enter(void* function, void*) {
  if (!recording) return;
  if (count < 1 << 16) entries[count++] = {depth > 0 ? stack[depth - 1] : nullptr, function};
  if (depth < 1 << 10) stack[depth++] = function;
}
[[gnu::no_instrument_function]] void __cyg_profile_func_exit(void*, void*) {
  if (recording && depth > 0) --depth;
}
}

int add_one(int n) { return n + 1; }

coproc::net::awaitable<void> calls(coproc::process_pool& pool) {
  for (int i = 0; i < 1000; ++i) co_await coproc::run_in_executor(pool, add_one, i);
  recording = true;
  co_await coproc::run_in_executor(pool, add_one, 1);
  recording = false;
}

int main() {
  coproc::net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  co_spawn(io, calls(pool), coproc::net::detached);
  io.run();
  for (int i = 0; i < count; ++i) std::printf("%p %p\n", entries[i].from, entries[i].to);
}
END

${CXX:-g++} -std=c++20 -O0 -g -no-pie -pthread -DASIO_STANDALONE -I"$include" -finstrument-functions \
  -finstrument-functions-exclude-file-list=/usr/include,/usr/lib,/usr/local \
  "$scratch/one_call.cpp" -o "$scratch/one_call" ${FMT:+-lfmt}
"$scratch/one_call" >"$scratch/edges"

# The file of each function; stems only, so that a body counts with its header.
tr ' ' '\n' <"$scratch/edges" | sort -u | grep '^0x' >"$scratch/addresses"
addr2line -e "$scratch/one_call" <"$scratch/addresses" |
  sed -e 's/ (.*//' -e 's/:[0-9?]*$//' -e "s|^$include/||" -e 's/\.[hi]pp$//' >"$scratch/files"
paste -d' ' "$scratch/addresses" "$scratch/files" >"$scratch/map"
awk -v top=12 '
  NR == FNR { file[$1] = $2; next }
  {
    from = file[$1]; to = file[$2]
    if (to !~ /^coproc\//) next
    calls++
    if (!(to in seen)) { seen[to] = 1; files++ }
    if (from ~ /^coproc\// && from != to) { crossings++; pair[from " -> " to]++ }
  }
  END {
    printf "%d calls of functions, in %d files, %d of them from one file to another\n", calls, files, crossings
    for (p in pair) printf "%6d  %s\n", pair[p], p | "sort -rn | head -" top
  }' "$scratch/map" "$scratch/edges"
