#!/usr/bin/env python3
"""The race of small files: 10,000 tables restored from a store that is 20 ms away.

The same S3 server, behind the same delay, for both (`lab/far.py`). Each table has a row or twenty and an index: more than 20,000
files, most of one page. Backups are timed too, but not raced: they are here for what is restored.

    cargo xtask bench small
"""

import argparse
import shutil
import subprocess
from pathlib import Path

from lab import limits, report
from lab.far import FarStore
from lab.shop import Shop, give_to_postgres
from lab.tools import Lifeboat, PgBackRest, set_up

SUMS = "select count(*), sum(reltuples) from pg_class where relname like 'small%'"


class SmallShop(Shop):
    """Many tables with next to nothing in them."""

    def build(self):
        wanted = f"{self.rows} tables, layout 1\n"
        mark = self.directory / "built"
        if mark.exists() and mark.read_text() == wanted:
            return
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)
        print(f"building the database: {wanted}", end="", flush=True)
        self.call("initdb", "-k", "-A", "trust", "-N", "--locale=C", "-E", "UTF8", "-D", self.data)
        self._configure("fsync = off\nmax_locks_per_transaction = 4096\nautovacuum = off\n")
        self._start()
        for first in range(0, self.rows, 500):
            self.query(
                f"do $$ begin for i in {first}..{min(first + 500, self.rows) - 1} loop "
                "execute format('create table small_%s as select n as id, md5(n::text || %s) as body "
                "from generate_series(1, 1 + %s %% 20) n', i, i, i); "
                "execute format('alter table small_%s add primary key (id)', i); end loop; end $$"
            )
        self.query("analyze")
        self.stop()
        subprocess.run(["sync"], check=True)
        mark.write_text(wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    report.options(parser, "small")
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument("--milliseconds", type=float, default=20, help="of latency, there and back")
    options = parser.parse_args()
    directory = Path(options.directory)
    directory.mkdir(parents=True, exist_ok=True)
    give_to_postgres(directory)
    shop = SmallShop(directory, options.programs, 0, options.tables)
    shop.build()
    with FarStore(directory, options.milliseconds) as store:
        tools = [
            Lifeboat(shop, options.lifeboat, location=store.for_lifeboat()),
            PgBackRest(shop, repository=store.for_pgbackrest()),
        ]
        shutil.rmtree(shop.directory / "restored", ignore_errors=True)
        files = limits.files_below(shop.data / "base")
        results = report.Report("small", options, shop, tools, files=len(files))
        results.limit("restore", limits.of_files(files, directory))
        shop.start()
        try:
            sums = shop.query(SUMS)
            for tool in tools:
                tool.begin()
                shop.archive_with(tool.archive)
                results.note(0, "backup", tool.name, tool.backup("full").seconds)
                shop.settle()
                shop.archive_with("true")
            for number in range(1, options.rounds + 1):
                for tool in tools if number % 2 else tools[::-1]:
                    restore(shop, tool, number, results)
                results.keep()
            for tool in tools:
                to = restore(shop, tool, options.rounds + 1, results)
                found = ask(shop, to)
                if found != sums:
                    raise RuntimeError(f"what {tool.name} restored is not the original: {found}, not {sums}")
        finally:
            shutil.rmtree(shop.directory / "restored", ignore_errors=True)
            shop.stop()
    results.end()


def restore(shop, tool, number, results):
    """Into a directory of its own, which stays: ext4 is slow to make files soon after so many were deleted."""
    to = shop.directory / "restored" / f"{tool.name}-{number}"
    set_up(to)
    subprocess.run(["sync"], check=True)
    cost = tool.restore(to)
    results.note(number, "restore", tool.name, cost.seconds, rss_bytes=cost.rss_tree_bytes)
    return to


def ask(shop, restored):
    """Starts what was restored and asks it."""
    with open(restored / "postgresql.auto.conf", "a") as settings:
        settings.write(f"\nport = 6155\nunix_socket_directories = '{shop.directory}'\narchive_mode = off\n")
    shop.call("pg_ctl", "-D", restored, "-l", shop.directory / "restored.log", "-w", "-t", "300", "start")
    try:
        return shop.call("psql", "-XAtq", "-p", "6155", "-c", SUMS).strip()
    finally:
        shop.call("pg_ctl", "-D", restored, "-m", "immediate", "-w", "stop")


if __name__ == "__main__":
    main()
