#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compares builds of the benchmark with each other: runs them in turn, row by row, and prints for each row by how much
slower each of them is than the first, with the spread. For changes of the hot path, and for ablations.

usage: compare.py [--rounds N] [--busy] NAME=coproc.bench NAME=coproc.bench... -- ROW[:PEER]...

PEER is an arm of the row, "coproc 1w" by default: arms whose names begin so. --busy keeps one CPU busy beside it.
"""
import collections
import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile


def measure(bench, row, peer, directory):
    """{(row's id, arm): median of its runs}"""
    out = pathlib.Path(directory) / "out.json"
    subprocess.run([bench, "--quick", "--only", row, "--peer", peer, "--out", str(out)], check=True,
                   stdout=subprocess.DEVNULL)
    return {(r["id"], arm["name"]): statistics.median(run[0] for run in arm["runs"])
            for r in json.loads(out.read_text())["rows"] for arm in r["arms"]}


def spread(values):
    inner = sorted(values)[1:-1] if len(values) > 3 else values
    return f"{min(inner):.2f} .. {max(inner):.2f}"


def main(arguments):
    rounds, busy = 7, False
    while arguments and arguments[0].startswith("--") and arguments[0] != "--":
        option = arguments.pop(0)
        if option == "--rounds" and arguments:
            rounds = int(arguments.pop(0))
        elif option == "--busy":
            busy = True
        else:
            sys.exit(__doc__)
    if "--" not in arguments:
        sys.exit(__doc__)
    split = arguments.index("--")
    builds = dict(argument.split("=", 1) for argument in arguments[:split])
    rows = [row.partition(":")[::2] for row in arguments[split + 1:]]
    if len(builds) < 2 or not rows:
        sys.exit(__doc__)

    spinner = subprocess.Popen(["sh", "-c", "while :; do :; done"]) if busy else None
    try:
        with tempfile.TemporaryDirectory() as directory:
            compare(builds, rows, rounds, directory)
    finally:
        if spinner:
            spinner.kill()
            spinner.wait()


def compare(builds, rows, rounds, directory):
    first = next(iter(builds))
    print("| row | " + f"{first} | " + " | ".join(list(builds)[1:]) + " |")
    print("| --- " * (len(builds) + 1) + "|")
    for row, peer in rows:
        ratios, figures = collections.defaultdict(list), collections.defaultdict(list)
        order = itertools.cycle(builds)
        for _ in range(rounds):
            found = {}
            for _ in builds:
                name = next(order)
                found[name] = measure(builds[name], row, peer or "coproc 1w", directory)
            next(order)  # another one begins the next round
            for key, base in found[first].items():
                figures[key].append(base)
                for name in builds:
                    if name != first and key in found[name]:
                        ratios[key, name].append(found[name][key] / base)
        for key in figures:
            cells = [f"{statistics.median(ratios[key, name]):.2f} ({spread(ratios[key, name])})"
                     for name in list(builds)[1:]]
            first_cells = [", ".join(key), f"{statistics.median(figures[key]):.4g}"]
            print("| " + " | ".join(first_cells + cells) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
