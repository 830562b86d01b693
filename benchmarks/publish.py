#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Puts the figures, goals and charts of a results file into docs/performance.md, and a few into README.md, between their
two "results" comments, so that no figure is copied there by hand.

usage: publish.py RESULTS.json [OTHER.json...]    (below benchmarks/results/, charts beside the first; of the others, which
                                                  were made on other machines, only what the goals came to is shown)
"""
import collections
import json
import pathlib
import statistics
import string
import sys
import textwrap

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
                median = statistics.median(run[value] for run in arm["runs"])
                label = arm["name"] if len(row["values"]) == 1 else f"{arm['name']}, {name}"
                unit = "ns" if name.endswith(" ns") else row["unit"]
                lines.append(f"| {row['title']} | {label} | {median:,.6g} {unit} | {arm['cpu_seconds']:.3f} | "
                             f"{arm['cpu_seconds'] / arm['wall_seconds']:.2f} |")
        lines += [f"| {row['title']} | left out: {missing} | | | |" for missing in row["missing"]]
    return lines + ["", "</details>"]


def machine(results):
    return (f"{results['cpu']}, {results['usable_cpus']} usable CPUs, {results['kernel']}, {results['compiler']}, commit "
            f"{results['commit']}")


def tally(results):
    verdicts = collections.Counter(goal["verdict"] for row in results["rows"] for goal in row["goals"])
    return (f"of {sum(verdicts.values())} goals {verdicts['met']} are met, {verdicts['missed']} missed, "
            f"{verdicts['not decidable here']} not decidable")


def elsewhere(results, others):
    """The goals that are not met on every machine, side by side. The results may be of different commits."""
    of = [{(row["id"], goal["what"].split(":")[0] if row["id"] == "grid.all" else goal["what"]): goal
           for row in r["rows"] for goal in row["goals"]} for r in (results, *others)]
    titles = {row["id"]: row["title"] for row in results["rows"]}
    lines = ["<details><summary>the goals that are not met on every machine</summary>", ""]
    letters = string.ascii_uppercase[:len(of)]
    lines += [f"- {letter}: {machine(r)}: {tally(r)}" for letter, r in zip(letters, (results, *others))]
    lines += ["", "| row | goal | wanted | " + " | ".join(letters) + " |",
              "| --- | --- | --- " + "| --- " * len(of) + "|"]
    for key in of[0]:
        goals = [goals.get(key) for goals in of]
        if all(goal and goal["verdict"] == "met" for goal in goals):
            continue
        lines.append(f"| {titles[key[0]]} | {key[1]} | {goals[0]['text'][2]} | " +
                     " | ".join(f"{goal['text'][0]}, {goal['text'][3]}" if goal else "" for goal in goals) + " |")
    return [*lines, "", "</details>", ""]


PEERS = {"coproc": "coproc 1w", "`asio::thread_pool`": "thread_pool(1)", "oneTBB": "oneTBB, 1 thread",
         "socketpair worker": "socketpair worker", "`message_queue` worker": "message_queue worker",
         "fork per task": "fork per task", "Python": "Python", "Node piscina": "Node piscina"}
ROWS = {"empty task, one after the other": ("empty.1", "languages.1"), "16 in flight": ("empty.16",),
        "256 in flight": ("empty.256", "languages.256"), "4096 in flight": ("empty.4096",),
        "after an idle gap of 1 ms": ("gap.1000",), "after one of 10 ms": ("gap.10000",)}
# Of these, what the README shows.
README_PEERS = ("coproc", "`asio::thread_pool`", "oneTBB", "socketpair worker", "Python", "Node piscina")
README_ROWS = {"an empty task, one after the other": "empty task, one after the other",
               "256 in flight": "256 in flight", "after 10 ms of idleness": "after one of 10 ms"}
README_CHART = "ratio_over_task_length"
WIDTH = {"width": 120, "break_long_words": False, "break_on_hyphens": False}


def time_text(ns):
    """As text.hpp's."""
    for unit in ("ns", "us", "ms", "s"):
        if ns < 999.5 or unit == "s":
            return f"{ns:.{2 if ns < 9.995 else 1 if ns < 99.95 else 0}f} {unit}"
        ns /= 1000


class figures:
    """Single figures of a results file, as text."""

    def __init__(self, results):
        self.rows = {row["id"]: row for row in results["rows"]}

    def time(self, row, arm_name):
        return next((time_text(statistics.median(run[0] for run in arm["runs"]))
                     for arm in self.rows.get(row, {"arms": []})["arms"] if arm["name"] == arm_name), "")

    def judged(self, row):
        return self.rows[row]["goals"][0]["text"][0]

    def ratio(self, row):
        return self.judged(row).removesuffix(" x")

    def times(self, corner, rows, peers):
        """A table of times: {title: name in ROWS} by names in PEERS."""
        lines = [f"| {corner} | " + " | ".join(peers) + " |", "| --- " * (len(peers) + 1) + "|"]
        for title, row in rows.items():
            cells = (next(filter(None, (self.time(i, PEERS[peer]) for i in ROWS[row])), "") for peer in peers)
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
        return lines


def at_a_glance(results):
    """A selection of the rows, in times rather than ratios."""
    f = figures(results)
    text = (
        f"Two processes that bounce one cache line took {f.time('empty.1', 'floor')} in the same run: an empty call is "
        f"{f.ratio('empty.1')} of these. A burst of 1,000 empty tasks costs {f.time('scale', '1w, 1 k')} a task with one "
        f"worker, {f.time('scale', '8w, 1 k')} with 8 and {f.time('scale', '64w, 1 k')} with 64. An argument costs its "
        f"copy: 64 KiB {f.time('argument.65536', 'by copy')} (`memcpy` {f.time('argument.65536', 'memcpy')}), 1 MiB "
        f"{f.time('argument.1048576', 'by copy')} ({f.time('argument.1048576', 'memcpy')}), 64 MiB "
        f"{f.time('argument.67108864', 'by copy')} ({f.time('argument.67108864', 'memcpy')}); a result of 64 MiB by value "
        f"{f.time('result.67108864', 'by value')} (`std::vector(p, p + n)` "
        f"{f.time('result.67108864', 'std::vector(p, p + n)')}); an `argument_array` or a `result_view` of 64 MiB costs as "
        f"much as 64 bytes ({f.ratio('argument.in_place')} and {f.ratio('result.view')} times). A crash, from the call that "
        f"dies to the end of the first task in the new worker, takes {f.ratio('crash')} times a bare fork, run, die and "
        f"wait. An idle worker holds {f.judged('memory')} more than a child in `pause()`, and an idle pool wakes nobody. "
        f"`#include <coproc/coproc.hpp>` costs the compiler {f.ratio('compile.include' if 'compile.include' in f.rows else 'compile')} times `#include <asio.hpp>`.")
    return ["### At a glance", "", f"Time per call, medians of {results['runs']} alternating runs; one worker each:", "",
            *f.times("", {row: row for row in ROWS}, PEERS), "", *textwrap.wrap(text, **WIDTH), ""]


def summary(results, relative, others):
    """What the README says of speed."""
    f = figures(results)
    chart = f"{relative.removesuffix('.json')}.{README_CHART}.svg"
    text = (
        f"An argument of 1 MiB costs {f.time('argument.1048576', 'by copy')} (`memcpy`: "
        f"{f.time('argument.1048576', 'memcpy')}). 64 MiB in an `argument_array` cost {f.ratio('argument.in_place')} times "
        f"as much as 64 bytes, in a `result_view` {f.ratio('result.view')} times. A crash, up to the end of the first task "
        f"in the new worker, takes {f.ratio('crash')} times a bare fork, run, die and wait. An idle worker holds "
        f"{f.judged('memory')} more than a bare child.")
    made = (
        f"Medians of {results['runs']} alternating runs by `{results['command']}` on {results['cpu']}, "
        f"{results['usable_cpus']} CPUs, {results['compiler']}, commit {results['commit']}. [Every row](docs/performance.md) "
        f"with its goal: {tally(results)} on that machine" + ("; and what came out otherwise elsewhere." if others else "."))
    return [*f.times("one worker, default options", README_ROWS, README_PEERS), "",
            f"![{CHARTS[README_CHART]}]({chart})", "", *textwrap.wrap(text + " " + made, **WIDTH)]


def replace_results(document, lines):
    text = document.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    document.write_text(before + BEGIN + "\n\n" + "\n".join(lines) + "\n\n" + END + after)


def main():
    path = pathlib.Path(sys.argv[1]).resolve()
    root = pathlib.Path(__file__).resolve().parent.parent
    results = json.loads(path.read_text())
    others = [json.loads(pathlib.Path(other).read_text()) for other in sys.argv[2:]]
    relative = path.relative_to(root).as_posix()
    lines = [f"[{relative}](../{relative}), made by `{results['command']}` on {results['date']}: {machine(results)}; load "
             f"{results['load_before']} before the first run; {results['runs']} runs of {results['seconds_per_run']} s: "
             f"{tally(results)}.", "", *at_a_glance(results), "### Goals", "", *table(results), ""]
    if others:
        lines += elsewhere(results, others)
    lines += [*absolute(results), ""]
    for chart, alt in CHARTS.items():
        if path.with_name(f"{path.stem}.{chart}.svg").exists():
            lines.append(f"![{alt}](../{relative.removesuffix('.json')}.{chart}.svg)")
    replace_results(root / "docs" / "performance.md", lines)
    replace_results(root / "README.md", summary(results, relative, others))


if __name__ == "__main__":
    main()
