#!/usr/bin/env python3
"""The race against ourselves: does a restore become slower after thirty incremental backups?

One full backup and thirty incrementals with TPC-B transactions before each; then a full backup of the same data in a repository of
its own. Both newest points are restored, in turns. pgBackRest does the same beside it, unless told not to.

    cargo xtask bench chain          25 GB of disk
"""

import argparse
import shutil
from pathlib import Path

from lab import limits, report
from lab.shop import SEED, Shop, bytes_below, give_to_postgres, warm
from lab.tools import Lifeboat, PgBackRest, set_up


def kept_apart(tool, mark):
    """The same tool with a repository and a state of its own."""
    tool.repository = tool.shop.directory / f"{tool.repository.name}-{mark}"
    tool.name = f"{tool.name} ({mark})"
    if isinstance(tool, Lifeboat):
        tool.state = tool.shop.directory / f"{tool.state.name}-{mark}"
        tool.key = tool.shop.directory / f"machine-{mark}.key"
        config = tool.shop.directory / f"lifeboat-{mark}.toml"
    else:
        config = tool.shop.directory / f"pgbackrest-{mark}.conf"
        text = tool.config.read_text().replace("pgbackrest-repo\n", f"pgbackrest-repo-{mark}\n")
        config.write_text(text)
    tool.archive = tool.archive.replace(str(tool.config), str(config))
    tool.config = config
    if isinstance(tool, Lifeboat):
        tool.configure()
    give_to_postgres(config)
    return tool


def backup(shop, tool, kind, number, what, results, begun):
    """The log goes to all that have begun, without a gap; to the one that is measured first."""
    others = [other for other in begun if other is not tool]
    shop.archive_with(" && ".join(f"( {one.archive} )" for one in [tool, *others]))
    shop.settle()
    before = bytes_below(tool.repository)
    cost = tool.backup(kind)
    results.note(number, what, tool.name, cost.seconds, added_bytes=bytes_below(tool.repository) - before)
    shop.settle()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    report.options(parser, "chain", rounds=5)
    parser.add_argument("--scale", type=int, default=100, help="of pgbench")
    parser.add_argument("--rows", type=int, default=300_000, help="of the table of text and JSON")
    parser.add_argument("--incrementals", type=int, default=30)
    parser.add_argument("--transactions", type=int, default=20_000, help="before each incremental")
    parser.add_argument("--without-peer", action="store_true")
    options = parser.parse_args()
    directory = Path(options.directory)
    directory.mkdir(parents=True, exist_ok=True)
    give_to_postgres(directory)
    shop = Shop(directory, options.programs, options.scale, options.rows)
    shop.build()
    kinds = [lambda: Lifeboat(shop, options.lifeboat)] + ([] if options.without_peer else [lambda: PgBackRest(shop)])
    chains = [kept_apart(kind(), "chain") for kind in kinds]
    fulls = [kept_apart(kind(), "full") for kind in kinds]
    results = report.Report("chain", options, shop, chains)
    shop.start()
    try:
        begun = []
        for tool in chains:
            tool.begin()
            begun.append(tool)
            backup(shop, tool, "full", 0, "full backup", results, begun)
        for number in range(1, options.incrementals + 1):
            shop.transactions(options.transactions, SEED + number)
            for tool in chains:
                backup(shop, tool, "incr", number, "incremental backup", results, begun)
        for tool in fulls:
            tool.begin()
            backup(shop, tool, "full", 0, "full backup of the end", results, [])
        shop.settle()
        shop.archive_with("true")
        results.limit("restore", limits.of_files(limits.files_below(shop.data / "base"), directory))
        for number in range(1, options.rounds + 1):
            tools = [tool for pair in zip(chains, fulls) for tool in (pair if number % 2 else pair[::-1])]
            for tool in tools:
                to = directory / "restored"
                set_up(to)
                shop.settle()
                warm(tool.repository)
                cost = tool.restore(to)
                results.note(number, "restore", tool.name, cost.seconds, rss_bytes=cost.rss_tree_bytes)
                shutil.rmtree(to)
            results.keep()
    finally:
        shop.stop()
    for tool in chains + fulls:
        shutil.rmtree(tool.repository)
    results.end()


if __name__ == "__main__":
    main()
