#!/usr/bin/env python3
"""How much memory a backup, a restore and a verification need when the database is ten times as large.

The data directory is a real cluster with relation files added: sparse ones, with a page of data here and there, so that 55 GB apparent
fit on a small disk. Lifeboat reads and hashes every byte of them. Sizes: the tenth of that, and all of it; memory must not follow.

    cargo xtask bench memory
"""

import argparse
import shutil
from pathlib import Path

from lab import measure, report
from lab.shop import give_to_postgres
from lab.sparse import SparseShop
from lab.tools import Lifeboat, set_up

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    report.options(parser, "memory", rounds=1)
    parser.add_argument("--gigabytes", default="5,55", help="apparent sizes")
    parser.add_argument("--every", type=int, default=32, help="a page with data in each so many pages")
    options = parser.parse_args()
    directory = Path(options.directory)
    directory.mkdir(parents=True, exist_ok=True)
    give_to_postgres(directory)
    shop = SparseShop(directory, options.programs, 1, 0)
    shop.build()
    tool = Lifeboat(shop, options.lifeboat)
    results = report.Report("memory", options, shop, [tool])
    most = 0
    try:
        for gigabytes in map(int, options.gigabytes.split(",")):
            shop.grow(gigabytes, options.every)
            shop.start()
            shop.archive_with(tool.archive)
            tool.begin()
            to = directory / "restored"
            for number in range(1, options.rounds + 1):
                for what, work in [
                    ("full backup", lambda: tool.backup("full")),
                    ("incremental backup", lambda: tool.backup("incr")),
                    ("incremental, every page read", lambda: _reading_all(tool)),
                    ("restore", lambda: (set_up(to), tool.restore(to))[1]),
                    ("verify --data", lambda: _measured(tool, "verify", "--data", "--quiet")),
                ]:
                    # The pages between two of content are zeros in the same chunk, and are written.
                    if what == "restore" and shutil.disk_usage(directory).free < gigabytes * 1.1e9:
                        print(f"  {what}, {gigabytes} GB: left out, the disk has no room for it", flush=True)
                        continue
                    cost = work()
                    most = max(most, cost.rss_tree_bytes)
                    results.note(number, f"{what}, {gigabytes} GB", tool.name, cost.seconds, rss_bytes=cost.rss_tree_bytes)
                    shutil.rmtree(to, ignore_errors=True)
                    results.keep()
            shop.archive_with("true")
            shop.stop()
            shutil.rmtree(tool.repository)
    finally:
        shop.stop()
        shop.grow(0, 1)
    results.end()
    print(f"most: {most / (1 << 20):.0f} MiB")


def _reading_all(tool):
    tool.configure('changed_blocks = "read"')
    cost = tool.backup("incr")
    tool.configure("")
    return cost


def _measured(tool, *arguments):
    return measure.run(tool.command(*arguments))


if __name__ == "__main__":
    main()
