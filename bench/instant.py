#!/usr/bin/env python3
"""From the command to the first answered query: an instant restore beside a copying one and pgBackRest's, as the database grows.

Each size is built, backed up by both, and brought back in turns: from a directory and, if asked for, from an S3 server that is 20 ms away.
The first query counts the rows of `pg_class`, by a server that was started on what is there. Of the instant restore is also measured how
much was fetched until then, how long the rest takes to come while nobody asks, and what becomes of it.

With `--load`, pgbench runs at one size: natively on a copying restore, at once and when it is warm; while the rest comes, which nothing can
warm; on the mount when everything is here; and on the ordinary directory afterwards.

    cargo xtask bench instant        40 GB of disk; --gigabytes 0.5,5 needs 15. As root: it mounts
"""

import argparse
import json
import re
import shutil
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path

from lab import picture, report
from lab.far import FarStore
from lab.shop import Shop, bytes_below, give_to_postgres, warm
from lab.sparse import SparseShop
from lab.tools import Lifeboat, PgBackRest, set_up

SCALE_PER_GIGABYTE = 64
ROWS_PER_GIGABYTE = 60_000
QUERY = "select count(*) from pg_class"


def cold(path):
    """Nothing of it is in memory."""
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


class Served:
    """An instant restore of ours; as root, who may mount."""

    def __init__(self, tool, to):
        self.tool, self.to = tool, to

    def _run(self, *arguments, check=True):
        command = [self.tool.program, "--config", self.tool.config, *arguments, "--json"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if check and done.returncode != 0:
            raise RuntimeError(f"{arguments} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def begin(self):
        """Returns the seconds until the first query was answered."""
        begun = time.monotonic()
        told = self._run("restore", "shop", "--to", self.to, "--instant", "--start", "--detach")["status"]
        return time.monotonic() - begun, told

    def status(self):
        return self._run("restore", "status", self.to)["restores"][0]["status"]

    def wait(self):
        """Until everything is here. Returns what it says then."""
        while (status := self.status())["bytes_to_come"] > 0:
            time.sleep(0.05)
        return status

    def finish(self):
        self._run("restore", "finish", self.to)

    def stop(self):
        self._run("restore", "stop", self.to, check=False)


def started(shop, to):
    """Starts what was copied, and asks it."""
    shop.call("pg_ctl", "-D", to, "-l", shop.directory / "restored.log", "-w", "-t", "300", "start")
    shop.query(QUERY)


def promoted(shop):
    """What was copied follows its log first; only then it takes writes."""
    while shop.query("select pg_is_in_recovery()") != "f":
        time.sleep(0.05)


def halted(shop, to):
    shop.call("pg_ctl", "-D", to, "-m", "immediate", "-w", "stop")


def copying(shop, tool, label, number, results, to):
    """The ordinary way: everything first, then the server."""
    begun = time.monotonic()
    cost = tool.restore(to)
    if tool.name == "pgbackrest":
        with open(to / "postgresql.auto.conf", "a") as settings:
            settings.write("\narchive_mode = off\n")
    started(shop, to)
    results.note(number, f"first query, {label}", f"{tool.name}, copying", time.monotonic() - begun, copying_seconds=cost.seconds)
    halted(shop, to)


def instant(shop, tool, label, number, results, to):
    served = Served(tool, to)
    try:
        seconds, told = served.begin()
        results.note(
            number, f"first query, {label}", "lifeboat, instant", seconds,
            fetched_bytes=told["bytes_fetched"], all_bytes=told["bytes_local"] + told["bytes_to_come"],
        )
        begun = time.monotonic()
        served.wait()
        rest = time.monotonic() - begun
        results.note(number, f"the rest, idle, {label}", "lifeboat, instant", rest, megabytes_per_second=told["bytes_to_come"] / rest / 1e6)
        begun = time.monotonic()
        served.finish()
        results.note(number, f"to the ordinary directory, {label}", "lifeboat, instant", time.monotonic() - begun)
        halted(shop, to)
    finally:
        served.stop()


def race(shop, tools, label, options, results, read_from_disk):
    """Everybody in turns, from what is in memory and from what is not."""
    for temperature in ("warm", "cold") if read_from_disk else ("far",):
        for number in range(1, options.rounds + 1):
            runs = [(instant, tools[0]), (copying, tools[0])] + [(copying, tool) for tool in tools[1:]]
            for run, tool in runs if number % 2 else runs[::-1]:
                to = shop.directory / "restored"
                set_up(to)
                subprocess.run(["sync"], check=True)
                if temperature == "warm":
                    warm(tool.repository)
                if temperature == "cold":
                    cold(tool.repository)
                run(shop, tool, f"{label}, {temperature}", number, results, to)
                shutil.rmtree(to)
            results.keep()


def sparse(options, results_of):
    """Far larger than the disk: only what an instant restore does until the first answer. Nobody could copy it here."""
    directory = Path(options.directory) / "sparse"
    directory.mkdir(parents=True, exist_ok=True)
    for path in (directory.parent, directory):
        give_to_postgres(path)
    shop = SparseShop(directory, options.programs, SCALE_PER_GIGABYTE // 2, ROWS_PER_GIGABYTE // 2)
    shop.build()
    # A page of data in each 64 MB.
    shop.grow(options.sparse_gigabytes, 8192)
    tool = Lifeboat(shop, options.lifeboat, settings=f'bin_dir = "{options.programs}"')
    results = results_of(shop, [tool])
    shop.start()
    try:
        tool.begin()
        shop.archive_with(tool.archive)
        tool.backup("full")
        shop.query("select pg_switch_wal()")
        shop.settle()
    finally:
        shop.stop()
    for number in range(1, options.rounds + 1):
        for temperature in ("warm", "cold"):
            to = shop.directory / "restored"
            set_up(to)
            warm(tool.repository) if temperature == "warm" else cold(tool.repository)
            served = Served(tool, to)
            try:
                seconds, told = served.begin()
                results.note(
                    number, f"first query, {options.sparse_gigabytes + 0.5:g} GB, {temperature}", "lifeboat, instant", seconds,
                    fetched_bytes=told["bytes_fetched"], all_bytes=told["bytes_local"] + told["bytes_to_come"],
                )
                halted(shop, to)
            finally:
                served.stop()
            shutil.rmtree(to)
        results.keep()
    shutil.rmtree(directory)


def tps(shop, seconds, *arguments):
    said = shop.call("pgbench", "-n", "-c", "4", "-j", "2", "-T", seconds, *arguments)
    return float(re.search(r"tps = ([0-9.]+)", said).group(1))


def load(shop, tool, options, results):
    """pgbench on each kind of directory, read-only and TPC-B."""
    to = shop.directory / "restored"
    for number in range(1, options.rounds + 1):
        for what, more in (("read-only", ["-S"]), ("TPC-B", [])):
            def note(where, **facts):
                rate = tps(shop, options.load_seconds, *more)
                results.note(number, f"pgbench, {what}", where, options.load_seconds, transactions_per_second=rate, **facts)

            set_up(to)
            tool.restore(to)
            started(shop, to)
            promoted(shop)
            note("native, cold")
            note("native, warm")
            halted(shop, to)
            shutil.rmtree(to)
            set_up(to)
            served = Served(tool, to)
            try:
                _, told = served.begin()
                note("while the rest comes")
                after = served.status()
                came = told["bytes_to_come"] - after["bytes_to_come"]
                results.note(number, f"the rest under {what}", "lifeboat, instant", options.load_seconds, megabytes_per_second=came / options.load_seconds / 1e6)
                served.wait()
                tps(shop, options.load_seconds, "-S")
                note("on the mount, whole, warm")
                served.finish()
                tps(shop, options.load_seconds, "-S")
                note("ordinary directory afterwards, warm")
                halted(shop, to)
            finally:
                served.stop()
            shutil.rmtree(to)
        results.keep()


def measure_size(gigabytes, options, results_of):
    directory = Path(options.directory) / str(gigabytes)
    directory.mkdir(parents=True, exist_ok=True)
    for path in (directory.parent, directory):
        give_to_postgres(path)
    shop = Shop(directory, options.programs, max(1, round(gigabytes * SCALE_PER_GIGABYTE)), round(gigabytes * ROWS_PER_GIGABYTE))
    shop.build()
    for store in (None, FarStore(directory, options.milliseconds)) if options.far else (None,):
        with store or nullcontext():
            far = store is not None
            settings = f'bin_dir = "{options.programs}"'
            tools = [Lifeboat(shop, options.lifeboat, location=store.for_lifeboat() if far else None, settings=settings)]
            if not options.without_peer:
                tools.append(PgBackRest(shop, repository=store.for_pgbackrest()) if far else PgBackRest(shop))
            results = results_of(shop, tools)
            shop.start()
            try:
                for tool in tools:
                    tool.begin()
                    shop.archive_with(tool.archive)
                    tool.backup("full")
                    shop.settle()
                    # The end of the backup's log must be there for everybody.
                    shop.query("select pg_switch_wal()")
                    shop.settle()
            finally:
                shop.stop()
            label = f"{gigabytes:g} GB" + (f", {options.milliseconds:g} ms away" if far else "")
            race(shop, tools, label, options, results, read_from_disk=not far)
            if options.load == gigabytes and not far:
                load(shop, tools[0], options, results)
    print(f"  {bytes_below(shop.data / 'base'):,} bytes at {gigabytes:g} GB", flush=True)
    shutil.rmtree(directory)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    report.options(parser, "instant")
    parser.add_argument("--gigabytes", default="0.5,5,20")
    parser.add_argument("--far", action="store_true", help="also from a store that is far away")
    parser.add_argument("--milliseconds", type=float, default=20, help="of latency, there and back")
    parser.add_argument("--sparse-gigabytes", type=int, default=0, help="also one of this size that is nearly all holes")
    parser.add_argument("--load", type=float, default=0, help="at which of the sizes pgbench runs")
    parser.add_argument("--load-seconds", type=int, default=15)
    parser.add_argument("--without-peer", action="store_true")
    options = parser.parse_args()
    kept = []

    def results_of(shop, tools):
        if not kept:
            kept.append(report.Report("instant", options, shop, tools))
        return kept[0]

    for gigabytes in map(float, filter(None, options.gigabytes.split(","))):
        measure_size(gigabytes, options, results_of)
    if options.sparse_gigabytes:
        sparse(options, results_of)
    kept[0].end()
    pictured = kept[0].stem.with_suffix(".json")
    pictured.with_suffix(".svg").write_text(picture.picture(json.loads(pictured.read_text())))


if __name__ == "__main__":
    main()
