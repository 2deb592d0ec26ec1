#!/usr/bin/env python3
"""One table of 50 MB out of a cluster of 5 GB: from the command until it is there again, and how much was fetched for it.

The table is dropped after the backup, among other transactions. It is brought back beside the running cluster and into a file, from a directory and
from an S3 server that is 20 ms away; and `when` is asked for the transaction that dropped it. The peer has no such thing: it restores the whole
cluster, or one database of it with all others as zeros (`--db-include`), which here is the same one.

    cargo xtask bench rescue        20 GB of disk. As root: it mounts
"""

import argparse
import json
import shutil
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path

from instant import cold
from lab import report
from lab.far import FarStore
from lab.shop import Shop, give_to_postgres, warm
from lab.tools import Lifeboat

SCALE_PER_GIGABYTE = 64
ROWS_PER_GIGABYTE = 60_000
# About 50 MB, with its index.
ORDERS = """
create table orders as
    select id, (random() * 100000)::int as customer, md5(random()::text) || md5(random()::text) as note
    from generate_series(1, {rows}) id;
alter table orders add primary key (id);
vacuum (freeze, analyze) orders;
"""
ROWS = 400_000


class Rescuer:
    """Ours; as root, who may mount."""

    def __init__(self, tool):
        self.tool = tool

    def __call__(self, *arguments):
        command = [self.tool.program, "--config", self.tool.config, *arguments, "--json"]
        begun = time.monotonic()
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        seconds = time.monotonic() - begun
        if done.returncode != 0:
            raise RuntimeError(f"{arguments} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return seconds, json.loads(done.stdout)


def prepare(shop, tool):
    """A backup with the table in it, then other transactions, and the table is gone."""
    shop.query("drop table if exists orders")
    for statement in ORDERS.format(rows=ROWS).split(";\n"):
        shop.query(statement)
    tool.begin()
    shop.archive_with(tool.archive)
    tool.backup("full")
    shop.transactions(5000, seed=1)
    rows = shop.query("select count(*) from orders")
    size = int(shop.query("select pg_total_relation_size('orders')"))
    xid = shop.query("begin; select pg_current_xact_id(); drop table orders; commit").splitlines()[0]
    shop.transactions(5000, seed=2)
    shop.query("select pg_switch_wal()")
    shop.settle()
    return int(rows), size, xid


def measure(shop, tool, label, options, results):
    rescue = Rescuer(tool)
    rows, size, xid = prepare(shop, tool)
    facts = {"table_bytes": size}
    for number in range(1, options.rounds + 1):
        seconds, told = rescue("when", "shop", "--dropped", "orders", "--database", "postgres")
        if xid not in json.dumps(told):
            raise RuntimeError(f"transaction {xid} was not found: {told}")
        results.note(number, f"when it was dropped, {label}", "lifeboat", seconds)
        for temperature in ("warm",) if "away" in label else ("warm", "cold"):
            file = shop.directory / "orders.sql"
            for where, into in (("beside", ["--database", "postgres"]), ("into a file", ["--database", "postgres", "--to", file])):
                if temperature == "warm" and tool.location is None:
                    warm(tool.repository)
                if temperature == "cold":
                    cold(tool.repository)
                seconds, told = rescue("rescue", "shop", "--table", "orders", "--xid", xid, "--exclusive", *into)
                if told["tables"][0]["rows"] != rows:
                    raise RuntimeError(f"not {rows} rows: {told}")
                results.note(
                    number, f"rescue {where}, {label}, {temperature}", "lifeboat", seconds,
                    fetched_bytes=told["bytes_fetched"], cluster_bytes=told["bytes_in_cluster"], **facts,
                )
                file.unlink(missing_ok=True)
            for name in shop.query("select relname from pg_class where relname like 'orders_rescued%' and relkind = 'r'").split():
                shop.query(f"drop table {name}")
        results.keep()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    report.options(parser, "rescue")
    parser.add_argument("--gigabytes", type=float, default=5)
    parser.add_argument("--milliseconds", type=float, default=20, help="of latency, there and back")
    options = parser.parse_args()
    directory = Path(options.directory)
    directory.mkdir(parents=True, exist_ok=True)
    give_to_postgres(directory)
    gigabytes = options.gigabytes
    shop = Shop(directory, options.programs, round(gigabytes * SCALE_PER_GIGABYTE), round(gigabytes * ROWS_PER_GIGABYTE))
    shop.build()
    results = None
    for store in (None, FarStore(directory, options.milliseconds)):
        with store or nullcontext():
            location = store.for_lifeboat() if store else None
            tool = Lifeboat(shop, options.lifeboat, location=location, settings=f'bin_dir = "{options.programs}"')
            results = results or report.Report("rescue", options, shop, [tool])
            shop.start()
            try:
                away = f", {options.milliseconds:g} ms away" if store else ""
                measure(shop, tool, f"{gigabytes:g} GB{away}", options, results)
            finally:
                shop.stop()
    results.end()
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
