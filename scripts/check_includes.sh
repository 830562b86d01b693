#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Checks that includes below <root>/coproc point down only, that each dependency comes through its one door and by its
# public names, and that no clock is used that somebody may set: deadlines must not move with the time of day.
# usage: check_includes.sh <root>      (<root> is the include directory). Run by ctest.
#
# Layers, lowest first: os, shm, codec, worker, server, net, front, public (the files directly in coproc/). So worker/ and
# server/, which run in processes of their own, never see the front end or its event loop. Vocabulary may be included from
# every layer, or from one layer upwards, and includes only vocabulary. A body (*.ipp) comes with its header, and is held to
# the same; src.hpp brings those whose headers leave them out where the library is compiled separately.
set -eu
cd "$1"

find coproc -name '*.hpp' -o -name '*.ipp' | LC_ALL=C sort | xargs awk '
  BEGIN {
    split("os shm codec worker server net front public", order)
    for (i in order) rank[order[i]] = i + 0
    split("config error options version net/error_code os/text", words)
    for (i in words) vocabulary["coproc/" words[i]] = rank["os"]
    split("stats trace", words)
    for (i in words) vocabulary["coproc/" words[i]] = rank["front"]
  }

  function layer(path, parts) {
    return split(path, parts, "/") == 2 ? "public" : parts[2]
  }

  # The name of a header, also for its body.
  function stem(path) {
    sub(/\.[hi]pp$/, "", path)
    return path
  }

  function fault(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text
    faults++
  }

  FNR == 1 {
    here = layer(FILENAME)
    if (!(here in rank)) fault("coproc/" here "/ is not a layer that scripts/check_includes.sh knows")
  }

  /(boost::[a-z_:]*|asio::[a-z_:]*|[^a-z_]net::[a-z_:]*)detail::/ {
    fault("a private name of another library, which may lack it tomorrow")
  }

  /system_clock|CLOCK_REALTIME|high_resolution_clock|gettimeofday/ { fault("deadlines go by steady_clock and CLOCK_MONOTONIC") }

  /^[ \t]*#[ \t]*include/ && here in rank {
    total++
    if (!match($0, /<[^>]*>/)) {
      fault("write #include <coproc/...> rather than a relative include")
      next
    }
    target = substr($0, RSTART + 1, RLENGTH - 2)

    if (target ~ /\.ipp$/ && stem(target) != stem(FILENAME) && FILENAME != "coproc/src.hpp")
      fault("<" target "> comes with its header")
    if (target ~ /^coproc\//) {
      there = layer(target)
      if (stem(target) in vocabulary && vocabulary[stem(target)] <= rank[here]) next
      if (stem(FILENAME) in vocabulary) fault("vocabulary includes <" target ">, which is not vocabulary")
      else if (!(there in rank)) fault("<" target "> is in no known layer")
      else if (rank[there] > rank[here]) fault(here " includes <" target "> of the higher layer " there)
    } else if (target ~ /^asio(\.hpp|\/)/) {
      if (here != "net") fault("Asio comes through <coproc/net/asio.hpp>, not <" target ">")
    } else if (target ~ /^boost\/interprocess/) {
      if (here != "os") fault("Boost.Interprocess comes through os/")
    } else if (target ~ /^fmt\//) {
      fault("the headers do not need fmt: texts are made with <coproc/os/text.hpp>")
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
