#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Draws the charts of one results file with gnuplot, as SVG beside it: <name>.<chart>.svg.

usage: charts.py RESULTS.json          (scripts/bench.sh --out runs it)

Charts whose rows are not in the file (--quick, --only) are left out. Points are medians over the runs, bars the spread:
the runs without the least and the greatest, as in the table.
"""
import json
import pathlib
import statistics
import subprocess
import sys

COLOURS = ("#0060ad", "#dd181f", "#2a9d3a", "#e69f00", "#7b3fa0", "#5f5f5f")
NAMES = {"coproc 1w": "coproc, 1 worker", "thread_pool(1)": "asio::thread_pool(1)"}


def middle(arm, value=0):
    """Median, least and greatest of an arm's runs, without the two outermost where there are five or more."""
    runs = sorted(run[value] for run in arm["runs"])
    inner = runs[1:-1] if len(runs) >= 5 else runs
    return statistics.median(runs), inner[0], inner[-1]


def lines_over_rows(rows, prefix, scale):
    """{arm: [(x, median, least, greatest)]} of the rows "<prefix>.<x>"."""
    lines = {}
    for row in rows:
        head, _, x = row["id"].rpartition(".")
        if head == prefix:
            for arm in row["arms"]:
                y, *ends = (scale(v) for v in middle(arm))
                lines.setdefault(NAMES.get(arm["name"], arm["name"]), []).append((int(x), y, min(ends), max(ends)))
    return {name: sorted(points) for name, points in lines.items()}


def latency_over_gap(rows):
    return lines_over_rows(rows, "gap", lambda ns: ns / 1e3), {
        "title": "Empty task after an idle gap", "xlabel": "gap [us]", "ylabel": "time of the task [us]",
        "scale": "set logscale x; set yrange [0:*]"}


def throughput_over_window(rows):
    return lines_over_rows(rows, "empty", lambda ns: 1e9 / ns), {
        "title": "Empty tasks", "xlabel": "tasks in flight", "ylabel": "tasks/s"}


def ratio_over_task_length(rows):
    lines = {}
    for row in rows:
        parts = row["id"].split(".")
        if parts[0] == "grid" and len(parts) == 4:
            ratio = row["goals"][0]
            label = f"{parts[1][:-1]} worker(s), {parts[3]} in flight"
            lines.setdefault(label, []).append((int(parts[2][:-2]), ratio["median"], *ratio["spread"]))
    return {name: sorted(points) for name, points in lines.items()}, {
        "title": "Time of asio::thread_pool / time of coproc: above 1 coproc is faster", "xlabel": "length of a task [us]",
        "ylabel": "ratio", "line": 1, "dashes": 3}


def tail_cdf(rows):
    lines, title = {}, ""
    for row in rows:
        if row["id"] != "tail.bimodal":
            continue
        title = row["title"]
        first = len(row["values"])  # the curve follows the named values: quantiles 1 - 10^(-i/16)
        for arm in row["arms"]:
            lines[NAMES.get(arm["name"], arm["name"])] = [
                (middle(arm, first + i)[0] / 1e3, 10 ** (-i / 16), None, None)
                for i in range(len(arm["runs"][0]) - first)]
    return lines, {"title": title, "xlabel": "latency [us]", "ylabel": "fraction of tasks that take longer", "line": 1e-3,
                   "style": "lines"}


def gnuplot_script(lines, look, footer, target):
    """`look["dashes"]` neighbouring lines share a colour and differ in their dashes."""
    dashes = look.get("dashes", 1)
    title = look["title"].replace("_", "\\\\_")
    script = ["set terminal svg size 820,520 font 'sans-serif,13' background rgb 'white' name 'coproc'",
              f"set output '{target}'", look.get("scale", "set logscale xy"), "set format x '%g'", "set format y '%g'",
              "set grid linecolor rgb '#dddddd'", "set key outside bottom center horizontal maxcols 3",
              f"set title \"{title}\\n{{/*0.7 {footer}}}\"", f"set xlabel '{look['xlabel']}'",
              f"set ylabel '{look['ylabel']}'"]
    if "line" in look:
        script.append(f"set arrow from graph 0, first {look['line']} to graph 1, first {look['line']} nohead dashtype 3")
    for i, points in enumerate(lines.values()):
        script.append(f"$line{i} << end")
        script += [" ".join(f"{v:.6g}" for v in point if v is not None) for point in points]
        script.append("end")
    style = look.get("style", "yerrorlines pointtype 7 pointsize 0.4")
    script.append("plot " + ", ".join(
        f"$line{i} with {style} linewidth 1.5 linecolor rgb "
        f"'{COLOURS[i // dashes % len(COLOURS)]}' dashtype {i % dashes + 1} title '{name}' noenhanced"
        for i, name in enumerate(lines)))
    return "\n".join(script) + "\n"


def main():
    path = pathlib.Path(sys.argv[1])
    results = json.loads(path.read_text())
    footer = (f"{results['cpu']}, {results['usable_cpus']} CPUs, {results['compiler']}, commit {results['commit']}; medians "
              "and spread of the runs")
    for chart in (latency_over_gap, throughput_over_window, ratio_over_task_length, tail_cdf):
        lines, look = chart(results["rows"])
        lines = {name: points for name, points in lines.items() if len(points) > 1}
        if not lines:
            continue
        target = path.with_name(f"{path.stem}.{chart.__name__}.svg")
        script = gnuplot_script(lines, look, footer, target)
        subprocess.run(["gnuplot"], input=script, text=True, check=True)
        print(f"chart     {target}")


if __name__ == "__main__":
    main()
