#!/usr/bin/env python3
"""The race: full backup, restore and incremental backup of about 5 GB, Lifeboat against pgBackRest, Barman
and pg_basebackup.

All tools get the same database in the same state, in the same run, warm in the page cache; two workers each, zstd at
level 3; repositories in directories on the disk of the database. What differs favours the peer: pgBackRest doesn't
encrypt, Lifeboat always does. Both verify page checksums, and both restore to files that are durable when it ends.

Before anything is measured: a checkpoint, an empty queue of WAL to archive, and `sync`. Before a backup the data files,
before a restore the repository, are read once, so that nobody pays for the disk's first read. The log goes to every
tool, to the one that is measured first. Who goes first changes from round to round. In the last round the restored
clusters are started and asked for their sums.

    cargo xtask bench full            or, with a built program: bench/full.py --lifeboat target/release/lifeboat
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from lab import limits, machine, measure, stages
from lab.shop import SEED, Shop, as_postgres, bytes_below, give_to_postgres, warm
from lab.tools import WORKERS, Barman, Lifeboat, PgBackRest

HERE = Path(__file__).resolve().parent
TRANSACTIONS = 20_000
SUMS = "select sum(abalance) from pgbench_accounts; select count(*), sum(length(body)) from documents"


class Race:
    """The rounds, and what they gave."""

    def __init__(self, shop, tools, base_backups):
        self.shop, self.tools, self.base_backups, self.results, self.sums = shop, tools, base_backups, [], ""
        self.limits = {}
        # Those whose log must go on without a gap from here to the end of the round.
        self.begun = []

    def archive(self, first=None):
        """The log goes to all that have begun; to the one that is measured first, so that it never waits for another."""
        tools = ([first] if first else []) + [tool for tool in self.begun if tool is not first]
        self.shop.archive_with(" && ".join(f"( {tool.archive} )" for tool in tools) or "true")

    def note(self, number, tool, what, cost, **more):
        self.results.append({"round": number, "tool": tool, "what": what, **cost.figures(), **more, "output": cost.stdout})
        cpu = cost.cpu_user_seconds + cost.cpu_system_seconds
        memory = f"{cost.rss_tree_bytes / 1e6:.0f} MB ({cost.rss_process_bytes / 1e6:.0f} MB the largest process)"
        extra = "".join(f", {name} {value / 1e9:.3f} GB" for name, value in more.items() if name.endswith("_bytes"))
        print(f"  {what:28} {tool:14} {cost.seconds:7.2f} s, CPU {cpu:6.2f} s, memory {memory}{extra}", flush=True)

    def backup(self, number, tool, what, kind):
        self.archive(first=tool)
        self.shop.settle()
        warm(self.shop.data)
        before = bytes_below(tool.repository)
        cost = tool.backup(kind)
        self.note(number, tool.name, what, cost, added_bytes=bytes_below(tool.repository) - before)
        self.shop.settle()
        self.archive()

    def restore(self, number, tool, last):
        to = self.shop.directory / "restored"
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(mode=0o700)
        give_to_postgres(to)
        self.shop.settle()
        warm(tool.repository)
        cost = tool.restore(to)
        self.note(number, tool.name, "restore", cost, restored_bytes=bytes_below(to))
        if last:
            self.ask(to, tool)
        shutil.rmtree(to)

    def ask(self, restored, tool):
        """Starts what was restored, and compares it with the original as it was."""
        with open(restored / "postgresql.auto.conf", "a") as settings:
            settings.write(f"\nport = 6155\nunix_socket_directories = '{self.shop.directory}'\narchive_mode = off\n")
        log = self.shop.directory / "restored.log"
        self.shop.call("pg_ctl", "-D", restored, "-l", log, "-w", "-t", "300", "start")
        try:
            found = self.shop.call("psql", "-XAtq", "-p", "6155", "-c", SUMS)
        finally:
            self.shop.call("pg_ctl", "-D", restored, "-m", "immediate", "-w", "stop")
        if found != self.sums:
            raise RuntimeError(f"what {tool.name} restored is not the original: {found}")
        print(f"  what {tool.name} restored starts, and is the original", flush=True)

    def round(self, number, last):
        tools = self.tools if number % 2 else self.tools[::-1]
        print(f"round {number}: {', then '.join(tool.name for tool in tools)}", flush=True)
        # Reading sets hint bits: now, not between two backups that should find nothing changed.
        self.sums = self.shop.call("psql", "-XAtq", "-c", SUMS)
        self.begun = []
        self.archive()
        for tool in tools:
            tool.begin()
            self.begun.append(tool)
            self.backup(number, tool, "full backup", "full")
        for tool in tools:
            self.restore(number, tool, last)
        for tool in tools:
            self.backup(number, tool, "incremental, unchanged", "incr")
        if last:
            # Beside the log of the restored servers: nothing is measured meanwhile.
            self.shop.settle()
            before = self.shop.directory / "before"
            shutil.copytree(self.shop.data / "base", before)
        self.shop.transactions(TRANSACTIONS, SEED + number)
        if last:
            self.shop.settle()
            self.limits["incremental, 20000 changes"] = limits.of_changes(before, self.shop.data / "base", self.shop.directory)
            shutil.rmtree(before)
        for tool in tools:
            self.backup(number, tool, "incremental, 20000 changes", "incr")
        for name, options in self.base_backups.items():
            self.base_backup(number, name, options)

    def base_backup(self, number, name, options):
        to = self.shop.directory / "base"
        shutil.rmtree(to, ignore_errors=True)
        self.shop.settle()
        warm(self.shop.data)
        program = self.shop.programs / "pg_basebackup"
        cost = measure.run([*as_postgres(), program, "-D", to, "-c", "fast", *options], self.shop.environment)
        self.note(number, name, "full backup", cost, added_bytes=bytes_below(to))
        shutil.rmtree(to)

    def profile(self, tool):
        """Where Lifeboat's CPU time goes: one run more of each kind, none of them in the race."""
        to, found = self.shop.directory / "restored", {}
        tool.begin()
        self.shop.archive_with(tool.archive)
        for what, command, read in [
            ("full backup", tool.command("backup", "--quiet", "--type", "full"), self.shop.data),
            ("restore", tool.command("restore", "shop", "--to", to, "--quiet"), tool.repository),
            ("incremental, unchanged", tool.command("backup", "--quiet", "--type", "incr"), self.shop.data),
        ]:
            self.shop.settle()
            warm(read)
            found[what] = stages.of(command, self.shop.directory)
        self.shop.settle()
        self.shop.archive_with("true")
        shutil.rmtree(to)
        return found


def stage_table(profile):
    """CPU seconds by stage and kind of run."""
    lines = [f"| CPU seconds | {' | '.join(profile)} |", "|---|" + "---|" * len(profile)]
    for stage in dict.fromkeys(stage for found in profile.values() for stage in found):
        lines.append(f"| {stage} | {' | '.join(f'{found.get(stage, 0):.2f}' for found in profile.values())} |")
    totals = " | ".join(f"{sum(found.values()):.2f}" for found in profile.values())
    return "\n".join([*lines, f"| all | {totals} |"])


def summary(results):
    """For each thing that was measured: medians, with the smallest and the largest."""
    groups = {}
    for result in results:
        groups.setdefault((result["what"], result["tool"]), []).append(result)
    lines = ["| | | seconds: median (least – most) | CPU seconds | memory, all processes | largest process | bytes |"]
    lines.append("|---|---|---|---|---|---|---|")
    for (what, tool), runs in groups.items():
        seconds = [run["seconds"] for run in runs]
        middle = lambda pick: statistics.median(pick(run) for run in runs)
        lines.append(
            f"| {what} | {tool} | {statistics.median(seconds):.2f} ({min(seconds):.2f} – {max(seconds):.2f})"
            f" | {middle(lambda run: run['cpu_user_seconds'] + run['cpu_system_seconds']):.2f}"
            f" | {middle(lambda run: run['rss_tree_bytes']) / 1e6:.0f} MB"
            f" | {middle(lambda run: run['rss_process_bytes']) / 1e6:.0f} MB"
            f" | {middle(lambda run: run.get('added_bytes', run.get('restored_bytes', 0))) / 1e6:.1f} MB |"
        )
    return "\n".join(lines)


def limits_table(found):
    """What the machine can do at most with the same bytes."""
    return "\n\n".join(
        f"Limits of {what}: " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in limit.items())
        for what, limit in found.items()
    )


def keep(stem, facts, results, profile, found):
    """Writes what there is so far: every figure, and the tables made of them."""
    facts = {**facts, "load_after": os.getloadavg()}
    parts = [summary(results), stage_table(profile) if profile else "", limits_table(found)]
    tables = "\n\n".join(part for part in parts if part)
    raw = json.dumps({"facts": facts, "runs": results, "cpu_seconds": profile, "limits": found}, indent=1)
    stem.with_suffix(".json").write_text(raw + "\n")
    stem.with_suffix(".md").write_text(f"```json\n{json.dumps(facts, indent=2)}\n```\n\n{tables}\n")
    return tables


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lifeboat", default=HERE.parent / "target/release/lifeboat", help="the program to race")
    parser.add_argument("--directory", default="/var/tmp/lifeboat-bench", help="20 GB on the disk to race on")
    parser.add_argument("--programs", default="/usr/lib/postgresql/15/bin", help="PostgreSQL's programs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=int, default=300, help="of pgbench")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table of text and JSON")
    parser.add_argument(
        "--unchanged-files", choices=["read", "skip"], default="read", help="as in Lifeboat's configuration"
    )
    parser.add_argument("--without-base-backup", action="store_true", help="leave pg_basebackup out")
    parser.add_argument("--without-barman", action="store_true", help="leave Barman out")
    parser.add_argument("--keep-results", default=HERE / "results", help="directory for the raw figures")
    options = parser.parse_args()

    directory = Path(options.directory)
    directory.mkdir(parents=True, exist_ok=True)
    give_to_postgres(directory)
    shop = Shop(directory, options.programs, options.scale, options.rows)
    shop.build()
    tools = [Lifeboat(shop, options.lifeboat, settings=f'unchanged_files = "{options.unchanged_files}"'), PgBackRest(shop)]
    if not options.without_barman:
        tools.append(Barman(shop))
    base_backups = {
        "pg_basebackup": ["-Fp", "-X", "fetch"],
        "… server-zstd": ["-Ft", "-X", "fetch", "--compress", f"server-zstd:level=3,workers={WORKERS}"],
        "… client-zstd": ["-Ft", "-X", "fetch", "--compress", f"client-zstd:level=3,workers={WORKERS}"],
    }
    race = Race(shop, tools, {} if options.without_base_backup else base_backups)
    facts = {
        **machine.facts(directory),
        "versions": machine.versions(
            {tool.name: tool.version() for tool in tools} | {"postgres": [shop.programs / "postgres", "--version"]}
        ),
        "commit": subprocess.run(
            ["git", "-C", HERE, "describe", "--always", "--dirty", "--abbrev=10"], capture_output=True, text=True
        ).stdout.strip(),
        "seed": SEED,
        "scale": options.scale,
        "documents": options.rows,
        "data_bytes": bytes_below(shop.data / "base"),
        "rounds": options.rounds,
        "unchanged_files": options.unchanged_files,
    }
    print(json.dumps(facts, indent=2), flush=True)
    stem = Path(options.keep_results) / f"full-{datetime.now(timezone.utc):%Y-%m-%dT%H%M}"
    shop.start()
    try:
        for number in range(1, options.rounds + 1):
            race.round(number, last=number == options.rounds)
            keep(stem, facts, race.results, {}, race.limits)
        profile = race.profile(tools[0]) if stages.available() else {}
        race.limits["full backup and restore"] = limits.of_files(limits.files_below(shop.data / "base"), directory)
    finally:
        shop.stop()
    print(keep(stem, facts, race.results, profile, race.limits))
    print(f"raw figures: {stem}.json", file=sys.stderr)


if __name__ == "__main__":
    main()
