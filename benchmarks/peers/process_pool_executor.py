#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Python's side of the benchmark: asyncio and ProcessPoolExecutor with one worker, what coproc has for C++.

Reads lines "IN_FLIGHT TASKS" and answers with the seconds that the tasks took. Front end as in C++: IN_FLIGHT
coroutines, each awaiting one task after the other.
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


def main():
    with concurrent.futures.ProcessPoolExecutor(max_workers=1) as pool:
        print("ready", flush=True)
        for line in sys.stdin:
            in_flight, tasks = line.split()
            print(asyncio.run(run(pool, int(in_flight), int(tasks))), flush=True)


if __name__ == "__main__":
    main()
