#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Checks that includes below <root>/coproc point down only, that each dependency comes through its one door, and that no
# clock is used that somebody may set: deadlines must not move with the time of day.
# usage: check_includes.sh <root>      (<root> is the include directory). Run by ctest.
#
# Layers, lowest first: os, shm, codec, pool, net, public (the headers directly in coproc/). Vocabulary may be included
# from every layer and includes only vocabulary.
set -eu
cd "$1"

find coproc -name '*.hpp' | LC_ALL=C sort | xargs awk '
  BEGIN {
    split("os shm codec pool net public", order)
    for (i in order) rank[order[i]] = i
    vocabulary["coproc/error.hpp"] = vocabulary["coproc/options.hpp"] = vocabulary["coproc/version.hpp"] = 1
    vocabulary["coproc/net/error_code.hpp"] = 1
  }

  function layer(path, parts) {
    return split(path, parts, "/") == 2 ? "public" : parts[2]
  }

  function fault(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text
    faults++
  }

  FNR == 1 {
    here = layer(FILENAME)
    if (!(here in rank)) fault("coproc/" here "/ is not a layer that scripts/check_includes.sh knows")
  }

  /system_clock|CLOCK_REALTIME|high_resolution_clock|gettimeofday/ { fault("deadlines go by steady_clock and CLOCK_MONOTONIC") }

  /^[ \t]*#[ \t]*include/ {
    total++
    if (!match($0, /<[^>]*>/)) {
      fault("write #include <coproc/...> rather than a relative include")
      next
    }
    target = substr($0, RSTART + 1, RLENGTH - 2)

    if (target ~ /^coproc\//) {
      there = layer(target)
      if (target in vocabulary) next
      if (FILENAME in vocabulary) fault("vocabulary includes <" target ">, which is not vocabulary")
      else if (!(there in rank)) fault("<" target "> is in no known layer")
      else if (rank[there] > rank[here]) fault(here " includes <" target "> of the higher layer " there)
    } else if (target ~ /^asio(\.hpp|\/)/) {
      if (here != "net") fault("Asio comes through <coproc/net/asio.hpp>, not <" target ">")
    } else if (target ~ /^boost\/pfr/) {
      if (FILENAME != "coproc/codec/aggregate.hpp") fault("Boost.PFR comes through <coproc/codec/aggregate.hpp>")
    } else if (target ~ /^boost\/interprocess/) {
      if (here != "os") fault("Boost.Interprocess comes through os/")
    } else if (target ~ /^boost\//) {
      fault("<" target "> has no door: name one in scripts/check_includes.sh")
    }
  }

  END {
    if (faults) exit 1
    if (!total) { print "no include found: wrong directory?"; exit 1 }
    printf "%d includes, all downward\n", total
  }
'
