#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Python's side of the round-trip benchmark: asyncio and ProcessPoolExecutor, what coproc has for C++.

Started by the benchmark, which writes lines "IN_FLIGHT TASKS PAUSE" and reads back the seconds that the tasks took.
Front end as in C++: IN_FLIGHT coroutines, each awaiting one task after the other; with a pause (seconds), one task at a
time, each after an idle pause that does not count.
"""
import asyncio
import concurrent.futures
import sys
import time


def increment(value):
    return value + 1


async def client(loop, pool, count):
    for value in range(count):
        if await loop.run_in_executor(pool, increment, value) != value + 1:
            raise RuntimeError("a task returned a wrong result")


async def run(pool, in_flight, tasks):
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    await asyncio.gather(*[client(loop, pool, tasks // in_flight) for _ in range(in_flight)])
    return time.perf_counter() - start


async def run_after_pauses(pool, pause, tasks):
    loop = asyncio.get_running_loop()
    awaited = 0.0
    for value in range(tasks):
        await asyncio.sleep(pause)
        start = time.perf_counter()
        await client(loop, pool, 1)
        awaited += time.perf_counter() - start
    return awaited


def main():
    workers = int(sys.argv[1])
    with concurrent.futures.ProcessPoolExecutor(max_workers=workers) as pool:
        print("ready", sys.version.split()[0], flush=True)
        for line in sys.stdin:
            in_flight, tasks, pause = line.split()
            if float(pause) > 0:
                took = asyncio.run(run_after_pauses(pool, float(pause), int(tasks)))
            else:
                took = asyncio.run(run(pool, int(in_flight), int(tasks)))
            print(took, flush=True)


if __name__ == "__main__":
    main()
