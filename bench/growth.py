#!/usr/bin/env python3
"""What becomes of the cost as the work grows: full backup, incremental, restore at about 1, 5 and 20 GB.

Beside each time stands what one gigabyte took: where that stays the same, the cost is linear. Each size is built, measured and removed
before the next.

    cargo xtask bench growth         60 GB of disk; --gigabytes 1,5 needs 15
"""

import argparse
import shutil
from pathlib import Path

from lab import limits, report
from lab.shop import SEED, Shop, bytes_below, give_to_postgres, warm
from lab.tools import Lifeboat, set_up

# pgbench makes 15.6 MB for each of its scale.
SCALE_PER_GIGABYTE = 64
TRANSACTIONS = 20_000


def measure_size(gigabytes, options, results_of):
    directory = Path(options.directory) / str(gigabytes)
    directory.mkdir(parents=True, exist_ok=True)
    for path in (directory.parent, directory):
        give_to_postgres(path)
    shop = Shop(directory, options.programs, gigabytes * SCALE_PER_GIGABYTE, 0)
    shop.build()
    tool = Lifeboat(shop, options.lifeboat)
    results = results_of(shop, tool)
    size = bytes_below(shop.data / "base")
    label = f"{gigabytes} GB"

    def note(number, what, cost, **more):
        per = cost.seconds / (size / 1e9)
        results.note(
            number, f"{what}, {label}", tool.name, cost.seconds, seconds_per_gigabyte=per,
            cpu_seconds=cost.cpu_user_seconds + cost.cpu_system_seconds, rss_bytes=cost.rss_tree_bytes, **more,
        )

    def backup(number, what, kind):
        shop.settle()
        warm(shop.data)
        before = bytes_below(tool.repository)
        cost = tool.backup(kind)
        note(number, what, cost, added_bytes=bytes_below(tool.repository) - before)

    shop.start()
    try:
        results.limit(label, limits.of_files(limits.files_below(shop.data / "base"), directory))
        for number in range(1, options.rounds + 1):
            tool.begin()
            shop.archive_with(tool.archive)
            shop.query("select sum(abalance) from pgbench_accounts")
            backup(number, "full backup", "full")
            backup(number, "incremental, unchanged", "incr")
            shop.transactions(TRANSACTIONS, SEED + number)
            backup(number, "incremental, 20000 changes", "incr")
            shop.settle()
            shop.archive_with("true")
            warm(tool.repository)
            to = directory / "restored"
            set_up(to)
            note(number, "restore", tool.restore(to))
            shutil.rmtree(to)
            results.keep()
    finally:
        shop.stop()
    shutil.rmtree(directory)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    report.options(parser, "growth")
    parser.add_argument("--gigabytes", default="1,5,20")
    options = parser.parse_args()
    kept = []

    def results_of(shop, tool):
        if not kept:
            kept.append(report.Report("growth", options, shop, [tool]))
        return kept[0]

    for gigabytes in map(int, options.gigabytes.split(",")):
        measure_size(gigabytes, options, results_of)
    kept[0].end()


if __name__ == "__main__":
    main()
