#!/usr/bin/env python3
"""The race beside the database: what pgbench still does while a backup runs.

One run of pgbench for each case. A backup with a rate is stopped and continued every few seconds, with signals: what counts is the
throughput in the seconds in which it runs against that in the seconds in which it doesn't, in the same run, side by side: the same
tables, as bloated, the same noise. (Time in which it was stopped is not saved up: no burst follows.) A backup without a limit is too short
for that, and is held against the time before and after it. A case in which nothing runs shows what the noise is.

    cargo xtask bench load           12 GB of disk
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path

from lab import limits, report
from lab.shop import SEED, Shop, as_postgres, give_to_postgres
from lab.tools import Lifeboat, PgBackRest

RUN_SECONDS_MAX = 3600
WARM_SECONDS = 15
MARGIN_SECONDS = 30
WINDOW_SECONDS = 8
CLIENTS = 4


class Load:
    """pgbench, until it is stopped, and what it did in each second."""

    def __init__(self, shop, seed, latency):
        command = [
            *as_postgres(), shop.programs / "pgbench", "-n", "-M", "prepared", "-c", CLIENTS, "-j", "2", "-T", RUN_SECONDS_MAX, "-P", "1",
            f"--random-seed={seed}", *latency,
        ]
        self.process = subprocess.Popen(
            [str(word) for word in command], env={**shop.environment, "PATH": "/usr/bin:/bin"}, cwd=shop.directory,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        self.seconds = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            if seen := re.match(r"progress: [\d.]+ s, ([\d.]+) tps, lat ([\d.]+) ms", line):
                self.seconds.append((time.monotonic(), float(seen[1]), float(seen[2])))

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()
        self.reader.join()

    def between(self, start, end):
        """Throughput, latency and the worst second's latency, of the seconds that lie wholly in between."""
        inside = [(tps, lat) for at, tps, lat in self.seconds if start + 1 <= at <= end]
        mean = lambda column: sum(row[column] for row in inside) / len(inside)
        return mean(0), mean(1), max(lat for _, lat in inside)


class StopAndGo(threading.Thread):
    """Stops a program and lets it go on, again and again, until it is told that it has ended."""

    def __init__(self, pattern):
        super().__init__()
        self.pattern, self.over = pattern, threading.Event()
        # When each window began and ended, and whether the program ran.
        self.windows = []

    def run(self):
        runs = True
        while not self.over.is_set():
            began = time.monotonic()
            is_over = self.over.wait(WINDOW_SECONDS)
            if not is_over:
                self.windows.append((began, time.monotonic(), runs))
            runs = not runs
            subprocess.run(["pkill", "-CONT" if runs else "-STOP", "-f", self.pattern], check=False)

    def end(self):
        self.over.set()
        self.join()


def side_by_side(shop, seed, work, pattern, latency):
    """Throughput in the windows in which `work` ran, in those in which it was stopped, latencies, the seconds, and the windows."""
    shop.settle()
    load = Load(shop, seed, latency)
    try:
        time.sleep(WARM_SECONDS)
        changing = StopAndGo(pattern)
        began = time.monotonic()
        changing.start()
        try:
            work()
        finally:
            changing.end()
        ended = time.monotonic()
    finally:
        load.stop()
    seen = [(load.between(start, end), ran) for start, end, ran in changing.windows]
    mean = lambda ran, column: (lambda rows: sum(rows) / len(rows))([row[column] for row, did in seen if did == ran])
    pairs = [one[0] / other[0] for (one, _), (other, _) in zip(seen[::2], seen[1::2])]
    return mean(True, 0), mean(False, 0), mean(True, 1), max(row[2] for row, ran in seen if ran), ended - began, pairs


def beside(shop, margin, seed, work, latency):
    """Throughput while `work` runs, that before and after it, latencies, and how long it took."""
    shop.settle()
    load = Load(shop, seed, latency)
    try:
        # The first seconds warm the caches.
        time.sleep(WARM_SECONDS)
        before = time.monotonic()
        time.sleep(margin)
        # The checkpoint of a backup is part of its price, so it counts.
        began = time.monotonic()
        work()
        ended = time.monotonic()
        time.sleep(margin)
        after = time.monotonic()
    finally:
        load.stop()
    tps, lat, worst = load.between(began, max(ended, began + 3))
    without = (load.between(before, began)[0] + load.between(ended, after)[0]) / 2
    return tps, without, lat, worst, ended - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    report.options(parser, "load", rounds=3)
    parser.add_argument("--scale", type=int, default=100, help="of pgbench")
    parser.add_argument("--rows", type=int, default=300_000, help="of the table of text and JSON")
    parser.add_argument("--margin", type=int, default=MARGIN_SECONDS, help="seconds without a backup, before and after it")
    parser.add_argument("--rates", default="25MB,50MB", help="for --max-rate")
    parser.add_argument("--pgbench-rate", type=int, default=0, help="transactions a second, for a server that isn't at its limit")
    parser.add_argument("--without-peer", action="store_true")
    options = parser.parse_args()
    directory = Path(options.directory)
    directory.mkdir(parents=True, exist_ok=True)
    give_to_postgres(directory)
    shop = Shop(directory, options.programs, options.scale, options.rows)
    shop.build()
    lifeboat, peer = Lifeboat(shop, options.lifeboat), PgBackRest(shop)
    tools = [lifeboat] if options.without_peer else [lifeboat, peer]
    results = report.Report("load", options, shop, tools)
    results.limit("reading", limits.of_files(limits.files_below(shop.data / "base"), directory))
    latency = ["--rate", options.pgbench_rate] if options.pgbench_rate else []
    shop.start()
    try:
        for tool in tools:
            tool.begin()
        for number in range(1, options.rounds + 1):
            cases = [("nothing", "—", lambda: time.sleep(4 * options.margin))]
            for rate in options.rates.split(","):
                cases.append((f"backup at {rate}/s", "lifeboat", lambda r=rate: lifeboat.backup("full", "--max-rate", r)))
            cases.append(("backup without limit", "lifeboat", lambda: lifeboat.backup("full")))
            if not options.without_peer:
                cases.append(("backup, one process", "pgbackrest", lambda: peer.backup("full", "--process-max=1")))
            for what, tool, work in cases if number % 2 else cases[::-1]:
                shop.archive_with(peer.archive if tool == "pgbackrest" else lifeboat.archive)
                figures = {}
                if what == "nothing" or "at" in what.split():
                    pattern = f"{lifeboat.program} --config .* backup"
                    tps, without, lat, worst, seconds, pairs = side_by_side(shop, SEED + number, work, pattern, latency)
                    figures = {"pairs": len(pairs), "standard_error_percent": 100 * statistics.stdev(pairs) / len(pairs) ** 0.5}
                else:
                    tps, without, lat, worst, seconds = beside(shop, options.margin, SEED + number, work, latency)
                results.note(
                    number, what, tool, seconds, percent=100 * tps / without, tps=tps, tps_without=without, latency_ms=lat,
                    worst_second_latency_ms=worst, **figures,
                )
            shop.settle()
            for tool in tools:
                tool.begin()
            results.keep()
    finally:
        shop.stop()
    results.end()


if __name__ == "__main__":
    main()
