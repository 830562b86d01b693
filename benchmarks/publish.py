#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Puts the goals and the charts of one results file into docs/performance.md, between its two "results" comments, so
that no figure is copied there by hand.

usage: publish.py RESULTS.json         (RESULTS.json below benchmarks/results/, with its charts beside it)
"""
import json
import pathlib
import sys

BEGIN, END = "<!-- results: made by benchmarks/publish.py -->", "<!-- end of results -->"
CHARTS = {"latency_over_gap": "latency of an empty task over the idle gap before it",
          "throughput_over_window": "throughput of empty tasks over the number in flight",
          "ratio_over_task_length": "time of asio::thread_pool over time of coproc, by length of the task",
          "tail_cdf": "how many tasks take longer than so long, under a load with a few long tasks"}


def table(results):
    lines = ["| row | goal | measured | spread | wanted | verdict |", "| --- | --- | --- | --- | --- | --- |"]
    cells = []
    for row in results["rows"]:
        for goal in row["goals"]:
            median, spread, wanted, verdict = goal["text"]
            line = f"| {row['title']} | {goal['what']} | {median} | {spread} | {wanted} | {verdict} |"
            one_cell_of_many = row["id"].startswith("grid.") and row["id"] != "grid.all"
            (cells if one_cell_of_many else lines).append(line)
    if cells:
        lines += ["", f"<details><summary>the {len(cells)} combinations one by one</summary>", "", *lines[:2], *cells, "",
                  "</details>"]
    return lines


def absolute(results):
    lines = ["<details><summary>absolute values of every row, with CPU seconds</summary>", "",
             "| row | peer | median per run | CPU s | CPUs |", "| --- | --- | --- | --- | --- |"]
    for row in results["rows"]:
        for arm in row["arms"]:
            for value, name in enumerate(row["values"]):
                runs = sorted(run[value] for run in arm["runs"])
                median = (runs[(len(runs) - 1) // 2] + runs[len(runs) // 2]) / 2
                label = arm["name"] if len(row["values"]) == 1 else f"{arm['name']}, {name}"
                unit = "ns" if name.endswith(" ns") else row["unit"]
                lines.append(f"| {row['title']} | {label} | {median:,.6g} {unit} | {arm['cpu_seconds']:.3f} | "
                             f"{arm['cpu_seconds'] / arm['wall_seconds']:.2f} |")
        lines += [f"| {row['title']} | left out: {missing} | | | |" for missing in row["missing"]]
    return lines + ["", "</details>"]


def main():
    path = pathlib.Path(sys.argv[1]).resolve()
    root = pathlib.Path(__file__).resolve().parent.parent
    results = json.loads(path.read_text())
    document = root / "docs" / "performance.md"
    text = document.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    relative = path.relative_to(root).as_posix()
    lines = [f"[{relative}](../{relative}), made by `{results['command']}` on {results['date']}: {results['cpu']}, "
             f"{results['usable_cpus']} usable CPUs, {results['kernel']}, {results['compiler']}, commit "
             f"{results['commit']}; load {results['load_before']} before the first run; {results['runs']} runs of "
             f"{results['seconds_per_run']} s.", "", *table(results), "", *absolute(results), ""]
    for chart, alt in CHARTS.items():
        if path.with_name(f"{path.stem}.{chart}.svg").exists():
            lines.append(f"![{alt}](../{relative.removesuffix('.json')}.{chart}.svg)")
    document.write_text(before + BEGIN + "\n\n" + "\n".join(lines) + "\n\n" + END + after)


if __name__ == "__main__":
    main()
