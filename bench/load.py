#!/usr/bin/env python3
"""The race beside the database: what pgbench still does while a backup runs.

pgbench runs for a while without a backup, then while one runs, and so on in turns: with no limit, and with several `max_rate`s. What counts is
the throughput in the seconds in which both ran. The peer, which has no limit of its own, is run with one process.

    cargo xtask bench load           12 GB of disk
"""

import argparse
import re
import subprocess
import threading
import time
from pathlib import Path

from lab import limits, report
from lab.shop import SEED, Shop, as_postgres, give_to_postgres
from lab.tools import Lifeboat, PgBackRest

RUN_SECONDS = 60
# The log must not be what is measured: both archive with what they back up with.
CLIENTS = 4


def transactions_per_second(shop, seconds, seed, latency):
    """What pgbench did in each second, and how long its transactions took."""
    command = [
        *as_postgres(), shop.programs / "pgbench", "-n", "-M", "prepared", "-c", CLIENTS, "-j", "2", "-T", seconds, "-P", "1",
        f"--random-seed={seed}", *latency,
    ]
    process = subprocess.Popen(
        [str(word) for word in command], env={**shop.environment, "PATH": "/usr/bin:/bin"}, cwd=shop.directory,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    found = []
    for line in process.stdout:
        if seen := re.match(r"progress: [\d.]+ s, ([\d.]+) tps, lat ([\d.]+) ms", line):
            found.append((time.monotonic(), float(seen[1]), float(seen[2])))
    if process.wait() != 0:
        raise RuntimeError("pgbench failed")
    return found


def beside(shop, seconds, seed, work, latency):
    """Throughput while `work` runs, and how long that took. Without work: of the same time."""
    shop.settle()
    found, times = [], []

    def run():
        time.sleep(3)
        times.append(time.monotonic())
        work()
        times.append(time.monotonic())

    thread = threading.Thread(target=run) if work else None
    if thread:
        thread.start()
    found = transactions_per_second(shop, seconds, seed, latency)
    if thread:
        thread.join()
        began, ended = times
    else:
        began, ended = found[2][0], found[-1][0]
    # The first second of a backup is its checkpoint, asked for at once: it is part of the price, so it counts.
    inside = [(tps, lat) for at, tps, lat in found if began + 1 <= at <= ended + 0.5] or [(t, l) for _, t, l in found[-3:]]
    tps = sum(tps for tps, _ in inside) / len(inside)
    return tps, sum(lat for _, lat in inside) / len(inside), max(lat for _, lat in inside), ended - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    report.options(parser, "load", rounds=5)
    parser.add_argument("--scale", type=int, default=100, help="of pgbench")
    parser.add_argument("--rows", type=int, default=300_000, help="of the table of text and JSON")
    parser.add_argument("--seconds", type=int, default=RUN_SECONDS, help="of each run of pgbench")
    parser.add_argument("--rates", default="25MB,50MB,100MB", help="for --max-rate")
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
            cases = [("none running", "—", None)]
            for rate in options.rates.split(","):
                cases.append((f"backup at {rate}/s", "lifeboat", lambda r=rate: lifeboat.backup("full", "--max-rate", r)))
            cases.append(("backup without limit", "lifeboat", lambda: lifeboat.backup("full")))
            if not options.without_peer:
                cases.append(("backup, one process", "pgbackrest", lambda: peer.backup("full", "--process-max=1")))
            for what, tool, work in cases if number % 2 else cases[::-1]:
                shop.archive_with(peer.archive if tool == "pgbackrest" else lifeboat.archive)
                tps, lat, worst, seconds = beside(shop, options.seconds, SEED + number, work, latency)
                results.note(number, what, tool, seconds, tps=tps, latency_ms=lat, worst_second_latency_ms=worst)
            shop.settle()
            for tool in tools:
                tool.begin()
            results.keep()
    finally:
        shop.stop()
    results.end()


if __name__ == "__main__":
    main()
