#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Draws the charts of one results file as SVG beside it: <name>.<chart>.svg.

usage: charts.py RESULTS.json          (needs matplotlib; scripts/bench.sh --out runs it)

Charts whose rows are not in the file (--quick, --only) are left out.
"""
import json
import pathlib
import statistics
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "coproc"  # the same results give the same file
matplotlib.rcParams["svg.fonttype"] = "none"
import matplotlib.pyplot as plt  # noqa: E402  (after use())

NAMES = {"coproc 1w": "coproc, 1 worker", "thread_pool(1)": "asio::thread_pool(1)"}


def middle(arm, value=0):
    """Median over the runs, least and greatest run left out of the spread, as the table does."""
    runs = sorted(run[value] for run in arm["runs"])
    inner = runs[1:-1] if len(runs) >= 5 else runs
    return statistics.median(runs), inner[0], inner[-1]


def lines_over_rows(rows, prefix, scale):
    """{arm: [(x, median, least, greatest)]} of the rows "<prefix>.<x>"."""
    lines = {}
    for row in rows:
        head, _, x = row["id"].rpartition(".")
        if head != prefix:
            continue
        for arm in row["arms"]:
            lines.setdefault(arm["name"], []).append((int(x), *(scale(v) for v in middle(arm))))
    return {name: sorted(points) for name, points in lines.items() if len(points) > 1}


def draw_lines(axes, lines):
    for name, points in lines.items():
        x, y, low, high = zip(*points)
        (line,) = axes.plot(x, y, marker="o", markersize=4, label=NAMES.get(name, name))
        axes.fill_between(x, [min(p) for p in zip(low, high)], [max(p) for p in zip(low, high)],
                          color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_xscale("log")


def latency_over_gap(rows, axes):
    lines = lines_over_rows(rows, "gap", lambda ns: ns / 1e3)
    if not lines:
        return False
    draw_lines(axes, lines)
    axes.set(title="Empty task after an idle gap", xlabel="gap [us]", ylabel="time of the task [us]")
    axes.set_ylim(bottom=0)
    return True


def throughput_over_window(rows, axes):
    lines = lines_over_rows(rows, "empty", lambda ns: 1e9 / ns)
    if not lines:
        return False
    draw_lines(axes, lines)
    axes.set_yscale("log")
    axes.set(title="Empty tasks", xlabel="tasks in flight", ylabel="tasks/s")
    return True


def ratio_over_task_length(rows, axes):
    lines = {}
    for row in rows:
        parts = row["id"].split(".")
        if parts[0] != "grid" or len(parts) != 4:
            continue
        ratio = row["goals"][0]
        label = f"{parts[1][:-1]} worker(s), {parts[3]} in flight"
        lines.setdefault(label, []).append((int(parts[2][:-2]), ratio["median"], *ratio["spread"]))
    lines = {name: sorted(points) for name, points in lines.items() if len(points) > 1}
    if not lines:
        return False
    draw_lines(axes, lines)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set(title="Time of asio::thread_pool / time of coproc (above 1 coproc is faster)", xlabel="length of a task [us]",
             ylabel="ratio")
    return True


def tail_cdf(rows, axes):
    row = next((r for r in rows if r["id"] == "tail.bimodal"), None)
    if row is None:
        return False
    first = len(row["values"])  # the curve follows the named values
    for arm in row["arms"]:
        beyond = [10 ** (-i / 16) for i in range(len(arm["runs"][0]) - first)]
        latency = [middle(arm, first + i)[0] / 1e3 for i in range(len(beyond))]
        axes.plot(latency, beyond, label=NAMES.get(arm["name"], arm["name"]))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axhline(1e-3, color="black", linewidth=0.8)
    axes.set(title=row["title"], xlabel="latency [us]", ylabel="fraction of tasks that take longer")
    return True


def main():
    path = pathlib.Path(sys.argv[1])
    results = json.loads(path.read_text())
    for draw in (latency_over_gap, throughput_over_window, ratio_over_task_length, tail_cdf):
        figure, axes = plt.subplots(figsize=(8, 5))
        if draw(results["rows"], axes):
            axes.grid(True, which="both", alpha=0.3)
            axes.legend(fontsize="small")
            axes.title.set_fontsize("medium")
            figure.text(0.01, 0.01, f"{results['cpu']}, {results['usable_cpus']} CPUs, {results['compiler']}, commit "
                        f"{results['commit']}; medians, bands: spread of the runs", fontsize=7)
            figure.tight_layout(rect=(0, 0.02, 1, 1))
            target = path.with_name(f"{path.stem}.{draw.__name__}.svg")
            figure.savefig(target, metadata={"Date": None})
            print(f"chart     {target}")
        plt.close(figure)


if __name__ == "__main__":
    main()
