#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Makes the reference of all public names, in build/reference/html; installs with apt what is missing (doxygen, its style
# sheet). A warning of doxygen is an error: so is a public name without documentation.
# usage: reference.sh [output directory [check]]     (check, for ctest: installs nothing, and returns 77 if something is missing)
set -eu
cd "$(dirname "$0")/.."

COPROC_REFERENCE_DIR=${1:-build/reference}
COPROC_DOXYGEN_AWESOME=${COPROC_DOXYGEN_AWESOME:-/usr/share/doxygen-awesome-css}
COPROC_VERSION=$(sed -n 's/^#define COPROC_VERSION_\(MAJOR\|MINOR\|PATCH\) //p' include/coproc/version.hpp | paste -sd .)
export COPROC_REFERENCE_DIR COPROC_DOXYGEN_AWESOME COPROC_VERSION

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

have_tools() { command -v doxygen >/dev/null 2>&1 && [ -e "$COPROC_DOXYGEN_AWESOME/doxygen-awesome.css" ]; }
if ! have_tools; then
  if [ "${2:-}" = check ]; then
    echo "skipped: doxygen or doxygen-awesome-css is not installed"
    exit 77
  fi
  mkdir -p build
  echo "coproc: installing with apt: doxygen doxygen-awesome-css"
  { as_root apt-get update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends doxygen doxygen-awesome-css
  } >build/setup.log 2>&1 || { cat build/setup.log; exit 1; }
fi

rm -rf "$COPROC_REFERENCE_DIR"
mkdir -p "$COPROC_REFERENCE_DIR"
doxygen docs/Doxyfile
echo "coproc: $COPROC_REFERENCE_DIR/html/index.html"
