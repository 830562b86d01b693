#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Makes this machine ready to build coproc and configures a build: installs with apt what is missing, and only that
# (as root, or through sudo), then runs cmake --preset. Where apt cannot help, CMake downloads the libraries instead.
# Users of coproc need Asio and Boost; fmt, Catch2 and what follows them are for its tests, examples and benchmarks.
# usage: setup.sh [preset [bench]]     (default: release; the presets are in CMakePresets.json; bench: also what only
#                                      scripts/bench.sh uses, which measures what it finds where they cannot be had)
set -eu
cd "$(dirname "$0")/.."
preset=${1:-release}
purpose=${2:-}

have_command() { command -v "$1" >/dev/null 2>&1; }
# The run-time libraries of clang's sanitizers are a package of their own.
have_clang() { echo 'int main() {}' | "clang++-$1" -fsanitize=address -x c++ - -o /dev/null 2>/dev/null; }
have_boost() { # of this version, or later
  header=boost/version.hpp
  for directory in /usr/include /usr/local/include; do
    version=$(sed -n 's/^#define BOOST_VERSION //p' "$directory/$header" 2>/dev/null) || continue
    if [ "$version" -ge "$1" ]; then return 0; fi
  done
  return 1
}
have_header() { [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ]; }
have_shared() { [ -e "/usr/share/$1" ]; }

# need <test> <argument> <package>...: adds the packages to the list to install if `test argument` fails.
missing=
need() {
  "$1" "$2" || { shift 2; missing="$missing $*"; }
}

list_missing() {
  missing=
  need have_command cmake cmake
  need have_command ninja ninja-build
  need have_command g++ g++
  need have_header asio/version.hpp libasio-dev
  need have_boost 108100 "$boost_package"
  need have_header fmt/format.h libfmt-dev
  need have_header catch2 catch2
  need have_header nettle/sha2.h nettle-dev
  need have_command spin spin
  need have_command tcc tcc
  case $preset in
  release | dev) # the presets that check the reference and the format
    need have_command clang-format-19 clang-format-19
    need have_command doxygen doxygen
    need have_shared doxygen-awesome-css/doxygen-awesome.css doxygen-awesome-css
    ;;
  clang | asan-ubsan | tsan) need have_clang 19 clang-19 libclang-rt-19-dev ;;
  esac
}

# Prints what is missing for the benchmark alone; in a subshell, so that $missing stays what it is.
list_optional() (
  missing=
  need have_header oneapi/tbb/task_arena.h libtbb-dev
  need have_command python3 python3
  need have_command gnuplot gnuplot-nox
  need have_command node nodejs
  need have_command npm npm
  echo "$missing"
)

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Prints the output of a long command only if it fails.
quietly() {
  mkdir -p build
  if ! "$@" >build/setup.log 2>&1; then
    cat build/setup.log
    return 1
  fi
}

apt_get() {
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"
}

# Debian 12 has Boost 1.74 by default; later releases have a default that will do.
# --no-remove: on a machine that has other versions nothing is ever taken away.
install_missing() {
  apt_get update || return 1
  boost_package=libboost-dev
  if apt-cache show libboost1.81-dev >/dev/null 2>&1; then boost_package=libboost1.81-dev; fi
  list_missing
  # shellcheck disable=SC2086 # a list of packages
  apt_get install -y --no-install-recommends --no-remove $missing
}

boost_package=libboost1.81-dev
list_missing
optional=
if [ "$purpose" = bench ]; then optional=$(list_optional); fi
fetch=OFF
if [ -n "$missing" ]; then
  if have_command apt-get && { [ "$(id -u)" = 0 ] || have_command sudo; }; then
    echo "coproc: installing with apt:$missing"
    install_missing || echo "coproc: apt could not install everything"
    list_missing
  fi
  if [ -n "$missing" ]; then
    fetch=ON
    echo "coproc: not installed, and not to be had from apt here:$missing"
    echo "coproc: CMake downloads Asio, Boost, fmt and Catch2 where they are missing (FetchContent, pinned by hash);"
    echo "coproc: without Nettle two examples are left out, without spin the models are not checked (without tcc that takes longer),"
    echo "coproc: without doxygen the reference is not, without clang-format 19 the format is not"
  fi
fi

# One by one, so that one that cannot be had does not take the others with it.
if [ -n "$optional" ] && have_command apt-get && { [ "$(id -u)" = 0 ] || have_command sudo; }; then
  echo "coproc: installing with apt, for the benchmark only:$optional"
  apt_get update || true
  for package in $optional; do
    apt_get install -y --no-install-recommends --no-remove "$package" || echo "coproc: apt could not install $package"
  done
fi

# Without Ninja, make does.
set -- "-DCOPROC_FETCH_DEPS=$fetch"
build_tool=ninja
if ! have_command ninja; then
  build_tool=make
  set -- "$@" -G "Unix Makefiles"
fi
for tool in cmake g++ git $build_tool; do
  have_command "$tool" || { echo "coproc: $tool is needed and missing: please install it" >&2; exit 1; }
done

echo "coproc: configuring build/$preset"
quietly cmake --preset "$preset" "$@" || {
  if [ "$fetch" = ON ]; then
    echo "coproc: if a download failed: install the packages named above, or run"
    echo "coproc:   cmake --preset $preset -DFETCHCONTENT_SOURCE_DIR_COPROC_<ASIO, BOOST, FMT or CATCH2>=<unpacked source>"
  fi
  exit 1
} >&2
