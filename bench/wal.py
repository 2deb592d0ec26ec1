#!/usr/bin/env python3
"""The race of the log: 1,000 segments that are ready at once are pushed, and 1,000 are fetched and replayed.

The segments are real: pgbench wrote them, with full pages, while archiving failed. Push: PostgreSQL's own archiver calls the
tool, a segment at a time, as it always does; the clock stops when it has archived the last. Fetch: `restore_command` is
called for one name after the other; the seconds are those inside the calls, with nothing between two of them but the deletion
of what the one before brought. Replay: PostgreSQL recovers a copy of the cluster as
it was before, with the tool as its `restore_command`; beside it the same with `cp`, and with all segments in `pg_wal`,
where nothing is fetched at all. What replay waited is how long the startup process was inside `restore_command`.

The peer works asynchronously with two processes and a queue of a gigabyte. Repositories are directories; what is pushed is durable.

    cargo xtask bench wal            45 GB of disk; with --segments 250 a quarter of that
"""

import argparse
import os
import shutil
import subprocess
import time
from pathlib import Path

from lab import limits, report
from lab.shop import SEED, Shop, as_postgres, bytes_below, give_to_postgres, warm
from lab.tools import Lifeboat, PgBackRest, set_up

# A row's first change after a checkpoint writes its whole page: many checkpoints make much log in little time.
FILLING = """
wal_level = replica
archive_mode = on
archive_command = '{archive}'
shared_buffers = 512MB
synchronous_commit = off
max_wal_size = 1GB
wal_keep_size = 100GB
autovacuum = off
"""

# Segments that were replayed are removed, not renamed: they are other names of the originals.
REPLAYING = """
port = 6155
unix_socket_directories = '{directory}'
listen_addresses = ''
archive_mode = off
shared_buffers = 512MB
max_wal_size = 4GB
wal_recycle = off
recovery_target_action = 'shutdown'
recovery_target_lsn = '{target}'
hot_standby = off
restore_command = '{command}'
"""

WAIT_SECONDS_MAX = 3600


class Log:
    """The shop with its waiting segments. Kept between runs, with a copy of the cluster from before them."""

    def __init__(self, shop, segments):
        self.shop, self.segments = shop, segments
        self.status = shop.data / "pg_wal" / "archive_status"
        self.before = shop.directory / "before"
        self.mark = shop.directory / "filled"

    def names(self):
        found = [path.name for path in (self.shop.data / "pg_wal").iterdir() if len(path.name) == 24]
        return sorted(name for name in found if (self.status / f"{name}.ready").exists())[: self.segments]

    def fill(self):
        """Makes the segments unless they are there."""
        if self.mark.exists() and self.mark.read_text() == f"{self.segments}\n":
            return
        self.mark.unlink(missing_ok=True)
        (self.shop.directory / "built").unlink(missing_ok=True)
        self.shop.build()
        # The copy must know that the log is complete from here on.
        self.start("false")
        self.shop.stop()
        set_up(self.before)
        subprocess.run(["cp", "-a", f"{self.shop.data}/.", self.before], check=True)
        self.start("false")
        number = 0
        while len(list(self.status.glob("*.ready"))) <= self.segments:
            number += 1
            self.shop.call("pgbench", "-n", "-M", "prepared", "-c", "4", "-j", "2", "-T", "10", f"--random-seed={SEED + number}")
        self.shop.query("select pg_switch_wal()")
        self.shop.stop()
        self.mark.write_text(f"{self.segments}\n")

    def start(self, archive):
        self.shop._configure(FILLING.format(archive=archive))
        self.shop._start()

    def all_wait(self):
        """What was archived waits again, and what is beyond the race is taken for archived."""
        for path in self.status.glob("*.done"):
            path.rename(path.with_suffix(".ready"))
        ready = sorted(self.status.glob("*.ready"))
        for path in ready[self.segments :]:
            path.rename(path.with_suffix(".done"))

    def target(self):
        """The end of the last segment but one: it is reached whatever comes after."""
        last = self.names()[-1]
        log, number = int(last[8:16], 16), int(last[16:], 16)
        return f"{log:X}/{number << 24:X}"


class Race:
    def __init__(self, log, tools, results):
        self.log, self.shop, self.tools, self.results = log, log.shop, tools, results

    def push(self, number, tool):
        """Through PostgreSQL's archiver."""
        shop, log = self.shop, self.log
        log.start("false")
        tool.forget_log()
        shop.stop()
        log.all_wait()
        names = log.names()
        # From the page cache for everybody: a server that has just written them has them there.
        for name in names:
            with open(shop.data / "pg_wal" / name, "rb", buffering=0) as segment:
                while segment.read(1 << 20):
                    pass
        subprocess.run(["sync"], check=True)
        started = time.monotonic()
        log.start(tool.archive_command())
        last = log.status / f"{names[-1]}.done"
        _until(lambda: last.exists(), f"{tool.name} archives {names[-1]}", shop.directory / "server.log")
        seconds = time.monotonic() - started
        shop.stop()
        stored = bytes_below(tool.repository)
        self.results.note(number, f"push of {len(names)}", tool.name, seconds, stored_bytes=stored)
        log.all_wait()

    def fetch(self, number, tool):
        """One call after the other."""
        to = self.shop.directory / "fetched"
        set_up(to)
        shutil.copytree(self.shop.data / "global", to / "global")
        (to / "pg_wal").mkdir()
        for path in (to / "global", to / "global" / "pg_control", to / "pg_wal"):
            give_to_postgres(path)
        warm(tool.repository)
        names, calls = self.log.names(), []
        started = time.monotonic()
        for name in names:
            called = time.monotonic()
            command = tool.restore_command(to).replace("%f", name).replace("%p", "pg_wal/RECOVERYXLOG")
            subprocess.run([*as_postgres(), "/bin/sh", "-c", command], cwd=to, check=True)
            calls.append(time.monotonic() - called)
            # Deletes the one before, as PostgreSQL does: that takes longer than a call, and isn't the tool's.
            (to / "pg_wal" / "RECOVERYXLOG").rename(to / "last")
        whole = time.monotonic() - started
        more = {"slowest_ms": max(calls) * 1000, "with_deletion_seconds": whole}
        self.results.note(number, f"fetch of {len(names)}", tool.name, sum(calls), **more)
        shutil.rmtree(to)

    def replay(self, number, name, command_for):
        """A whole recovery. `command_for` gives `restore_command` for a data directory; `None` is the log in place."""
        shop, to = self.shop, self.shop.directory / "replica"
        set_up(to)
        subprocess.run(["cp", "-a", f"{self.log.before}/.", to], check=True)
        shutil.rmtree(to / "pg_wal")
        (to / "pg_wal" / "archive_status").mkdir(parents=True)
        if command_for is None:
            for segment in self.log.names():
                os.link(shop.data / "pg_wal" / segment, to / "pg_wal" / segment)
        give_to_postgres(to / "pg_wal")
        give_to_postgres(to / "pg_wal" / "archive_status")
        (to / "recovery.signal").touch()
        give_to_postgres(to / "recovery.signal")
        times = shop.directory / "times"
        times.unlink(missing_ok=True)
        command = _timed(command_for(to), times, shop.directory) if command_for else "false"
        settings = REPLAYING.format(directory=shop.directory, target=self.log.target(), command=command)
        (to / "postgresql.auto.conf").write_text(settings)
        subprocess.run(["sync"], check=True)
        said = shop.directory / "replica.log"
        said.unlink(missing_ok=True)
        started = time.monotonic()
        with open(said, "wb") as output:
            server = subprocess.Popen([*as_postgres(), shop.programs / "postgres", "-D", to], stdout=output, stderr=output)
            server.wait(WAIT_SECONDS_MAX)
        seconds = time.monotonic() - started
        text = said.read_text()
        if "recovery stopping" not in text and "shutdown at recovery target" not in text:
            raise RuntimeError(f"replay with {name} didn't reach its target:\n{text[-3000:]}")
        waits = [int(line) / 1e6 for line in times.read_text().split()] if times.exists() else []
        slow = sum(1 for wait in waits if wait > 0.1)
        more = {"in_restore_command_seconds": sum(waits), "calls_over_100_ms": slow} if waits else {}
        self.results.note(number, f"replay of {len(self.log.names())}", name, seconds, **more)
        shutil.rmtree(to)

    def round(self, number, what):
        tools = self.tools if number % 2 else self.tools[::-1]
        print(f"round {number}: {', then '.join(tool.name for tool in tools)}", flush=True)
        for tool in tools:
            self.push(number, tool)
            if "fetch" in what:
                self.fetch(number, tool)
                _queue_forgotten(tool)
            if "replay" in what:
                warm(tool.repository)
                self.replay(number, tool.name, tool.restore_command)
            shutil.rmtree(tool.repository)
            _queue_forgotten(tool)
        if "replay" in what:
            self.replay(number, "cp", lambda _: f"cp {self.shop.data}/pg_wal/%f %p")
            self.replay(number, "log in place", None)
        self.results.keep()


def _timed(command, times, directory):
    """The same command, noting how long each call took, with what a shell costs for all alike."""
    script = directory / "timed"
    script.write_text(
        '#!/bin/bash\nbegan=$EPOCHREALTIME\n"$@"\nended=$?\n'
        f'[ $ended = 0 ] && echo $(( (${{EPOCHREALTIME/./}} - ${{began/./}}) )) >> {times}\n'
        "exit $ended\n"
    )
    script.chmod(0o755)
    times.touch()
    give_to_postgres(times)
    return f"{script} {command}"


def _queue_forgotten(tool):
    """What was fetched ahead for the race before is not for the next."""
    tool.wait_for_loader()
    for directory in (getattr(tool, "spool", None), getattr(tool, "state", None)):
        if directory is not None and directory.exists():
            shutil.rmtree(directory)
    if hasattr(tool, "spool"):
        set_up(tool.spool)


def _until(condition, what, log):
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"never: {what}\n{log.read_text()[-3000:]}")
        time.sleep(0.005)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    report.options(parser, "wal")
    parser.add_argument("--segments", type=int, default=1000)
    parser.add_argument("--scale", type=int, default=50, help="of pgbench")
    parser.add_argument("--what", default="push,fetch,replay", help="a push belongs to each of them")
    options = parser.parse_args()
    directory = Path(options.directory)
    directory.mkdir(parents=True, exist_ok=True)
    give_to_postgres(directory)
    shop = Shop(directory, options.programs, options.scale, 0)
    log = Log(shop, options.segments)
    log.fill()
    tools = [Lifeboat(shop, options.lifeboat), PgBackRest(shop)]
    results = report.Report("wal", options, shop, tools)
    segments = [shop.data / "pg_wal" / name for name in log.names()]
    results.limit(f"push of {len(segments)}", limits.of_files(segments, directory))
    race = Race(log, tools, results)
    try:
        for number in range(1, options.rounds + 1):
            race.round(number, options.what.split(","))
    finally:
        shop.stop()
    results.end()


if __name__ == "__main__":
    main()
