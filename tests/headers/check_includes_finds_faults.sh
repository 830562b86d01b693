#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Self-test of scripts/check_includes.sh: in a copy of the headers each forbidden include must be reported, each allowed
# one accepted. usage: check_includes_finds_faults.sh <source directory> <scratch directory>. Run by ctest.
set -eu
source_dir=$1 scratch=$2

rm -rf "$scratch"
mkdir -p "$scratch"
failures=0

# try <accepted|refused> <header> <include line>: appends the line to a copy of the headers and runs the check.
try() {
  rm -rf "$scratch/include"
  cp -R "$source_dir/include" "$scratch/include"
  mkdir -p "$(dirname "$scratch/include/$2")"
  printf '%s\n' "$3" >>"$scratch/include/$2"
  if sh "$source_dir/scripts/check_includes.sh" "$scratch/include" >"$scratch/output" 2>&1; then
    verdict=accepted
  else
    verdict=refused
  fi
  # A refusal counts only if it names the header that was changed.
  if [ "$verdict" = refused ] && ! grep -q "^$2:" "$scratch/output"; then verdict="refused elsewhere"; fi
  if [ "$verdict" != "$1" ]; then
    printf '%s with %s: %s, expected: %s\n' "$2" "$3" "$verdict" "$1"
    cat "$scratch/output"
    failures=$((failures + 1))
  fi
}

try refused coproc/os/probe.hpp '#include <coproc/shm/slot.hpp>'
try refused coproc/shm/probe.hpp '#include <coproc/codec/codec.hpp>'
try refused coproc/codec/probe.hpp '  #  include <coproc/front/dispatcher.hpp>'
try refused coproc/worker/probe.hpp '#include <coproc/server/messages.hpp>'
try refused coproc/worker/probe.hpp '#include <coproc/front/task_record.hpp>'
try refused coproc/worker/probe.hpp '#include <coproc/net/asio.hpp>'
try refused coproc/worker/probe.hpp '#include <coproc/stats.hpp>'
try refused coproc/server/probe.hpp '#include <coproc/front/engine.hpp>'
try refused coproc/server/probe.hpp '#include <coproc/net/asio.hpp>'
try refused coproc/net/probe.hpp '#include <coproc/front/engine.hpp>'
try refused coproc/front/probe.hpp '#include <coproc/process_pool.hpp>'
try refused coproc/worker/process.ipp '#include <coproc/front/engine.hpp>'
try refused coproc/front/probe.ipp '#include <coproc/pool.hpp>'
try refused coproc/front/probe.hpp '#include <coproc/front/dispatcher.ipp>'
try refused coproc/error.hpp '#include <coproc/os/memfd.hpp>'
try refused coproc/error.ipp '#include <coproc/os/memfd.hpp>'
try refused coproc/stats.hpp '#include <coproc/front/limits.hpp>'
try refused coproc/front/probe.hpp '#include "dispatcher.hpp"'
try refused coproc/front/probe.hpp '#include <asio/post.hpp>'
try refused coproc/front/probe.ipp '#include <asio/post.hpp>'
try refused coproc/worker/probe.hpp '#include <asio/post.hpp>'
try refused coproc/probe.hpp '#include <asio.hpp>'
try refused coproc/codec/probe.hpp '#include <boost/pfr.hpp>'
try refused coproc/shm/probe.hpp '#include <boost/interprocess/mapped_region.hpp>'
try refused coproc/os/probe.hpp '#include <boost/container/vector.hpp>'
try refused coproc/os/probe.ipp '#include <coproc/shm/slot.hpp>'
try refused coproc/config.hpp '#include <coproc/os/memfd.hpp>'
try refused coproc/os/probe.hpp '#include <fmt/core.h>'
try refused coproc/probe.hpp '#include <fmt/format.h>'
try refused coproc/pool/probe.hpp '#include <vector>'
try refused coproc/codec/aggregate.hpp 'auto t = boost::pfr::detail::tie_as_tuple(v);'
try refused coproc/net/asio.hpp 'using frame = net::detail::awaitable_frame<int>;'
try refused coproc/net/asio.hpp 'using frame = ::asio::detail::awaitable_frame<int>;'
try accepted coproc/net/asio.hpp 'using task = coproc::detail::task_state<int>;'
try refused coproc/front/probe.hpp 'auto now = std::chrono::system_clock::now();'
try refused coproc/front/probe.ipp 'auto now = std::chrono::system_clock::now();'

try accepted coproc/os/probe.hpp '#include <coproc/error.hpp>'
try accepted coproc/os/probe.hpp '#include <coproc/config.hpp>'
try accepted coproc/shm/probe.ipp '#include <coproc/os/memfd.hpp>'
try accepted coproc/os/probe.hpp '#include <boost/interprocess/mapped_region.hpp>'
try accepted coproc/worker/probe.hpp '#include <coproc/net/error_code.hpp>'
try accepted coproc/worker/probe.hpp '#include <coproc/options.hpp>'
try accepted coproc/worker/probe.hpp '#include <coproc/codec/reader.hpp>'
try accepted coproc/server/probe.hpp '#include <coproc/worker/orders.hpp>'
try accepted coproc/server/probe.hpp '#include <coproc/config.hpp>'
try accepted coproc/net/probe.hpp '#include <asio/post.hpp>'
try accepted coproc/front/probe.hpp '#include <coproc/net/asio.hpp>'
try accepted coproc/front/probe.hpp '#include <coproc/server/messages.hpp>'
try accepted coproc/front/probe.hpp '#include <coproc/stats.hpp>'
try accepted coproc/front/probe.hpp '#include <coproc/front/probe.ipp>'
try accepted coproc/src.hpp '#include <coproc/front/dispatcher.ipp>'
try accepted coproc/probe.hpp '#include <coproc/net/asio.hpp>'

rm -rf "$scratch"
exit "$failures"
