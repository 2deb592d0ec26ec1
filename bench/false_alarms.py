#!/usr/bin/env python3
"""Does anybody take over who shouldn't? Three members under all the load that two processors give, and once a minute a second's pause.

Three hosts (network namespaces), each with PostgreSQL and an agent with the times it comes with, commits that wait for one standby, the lease
in an etcd of three, and pgbench with clients enough to saturate the machine, through the proxy. Every `--every` seconds something of the
primary's host stands still for a second and goes on: its agent, its server, both, a member of etcd, in turns. Nothing is wrong, so nothing
may happen: the holder and the epoch stay, and no client sees an error.

    cargo xtask bench false_alarms              an hour, as root: it makes network namespaces; 15 GB of disk
    cargo xtask bench false_alarms --minutes 2
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from lab import report
from lab.etcd import Etcd
from lab.hosts import Network, call, fresh, is_server
from lab.trio import NAMES, PROXY_PORT, Trio

PAUSED = ("the agent", "the server", "agent and server", "a member of etcd")
# After a pause, its clients wait at most so long for what it held up.
AFTER_SECONDS = 5
LOOK_SECONDS = 5


class Load:
    """pgbench for so long, started again if its clients were sent away. What it did in each second is kept."""

    def __init__(self, address, directory, options):
        self.address, self.directory, self.options = address, directory, options
        self.errors, self.starts, self.until = [], 0, 0.0
        self.thread = threading.Thread(target=self._run, daemon=True)

    def prepare(self):
        call(["pgbench", *self._address(), "-i", "-q", "-s", self.options.scale])

    def begin(self, seconds):
        self.until = time.time() + seconds
        self.thread.start()

    def wait(self):
        self.thread.join()

    def _address(self):
        return ["-h", self.address, "-p", PROXY_PORT, "-U", "postgres", "postgres"]

    def _run(self):
        while (left := round(self.until - time.time())) > 0:
            self.starts += 1
            done = subprocess.run(
                [str(word) for word in (
                    "pgbench", "-n", "-c", self.options.clients, "-j", 2, "-T", left, "-l", "--aggregate-interval=1",
                    f"--log-prefix={self.directory}/seconds-{self.starts}", *self._address())],
                capture_output=True, text=True, stdin=subprocess.DEVNULL,
            )
            found = [line for line in done.stderr.splitlines() if re.search(r"error|fatal|aborted", line, re.IGNORECASE)]
            self.errors += [f"{time.time():.3f} {line}" for line in found]
            if done.returncode != 0:
                time.sleep(0.2)

    def seconds(self):
        """Transactions and the longest of them in seconds, for each second since 1970."""
        counts, longest = {}, {}
        for path in self.directory.glob("seconds-*"):
            for line in path.read_text().splitlines():
                fields = line.split()
                second = int(fields[0])
                counts[second] = counts.get(second, 0) + int(fields[1])
                longest[second] = max(longest.get(second, 0.0), float(fields[5]) / 1e6)
        return counts, longest


def pause(what, trio, etcd, number, seconds):
    """Something stands still and goes on. Returns what it was, in words."""
    holder = trio.status()["lease"]["holder"]
    host, agent = trio.network[holder], trio.agent_pid(holder)
    try:
        if what == "a member of etcd":
            member = number % 3
            leads = etcd.leads(member)
            etcd.signal(member, signal.SIGSTOP)
            time.sleep(seconds)
            return f"etcd {member}" + (", which leads" if leads else "")
        if what != "the server":
            os.kill(agent, signal.SIGSTOP)
        if what != "the agent":
            host.signal(signal.SIGSTOP, is_server)
        time.sleep(seconds)
        return f"{what} of {holder}"
    finally:
        os.kill(agent, signal.SIGCONT)
        host.signal(signal.SIGCONT, is_server)
        for member in range(3):
            etcd.signal(member, signal.SIGCONT)


class Looks:
    """How the cluster is by its own words, every few seconds."""

    def __init__(self, trio):
        self.trio, self.over, self.seen = trio, threading.Event(), []
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.over.wait(LOOK_SECONDS):
            begun = time.monotonic()
            try:
                status = self.trio.status()
                lease = status["lease"]
                self.seen.append({
                    "at": time.time(), "seconds": round(time.monotonic() - begun, 3), "epoch": lease["epoch"], "holder": lease["holder"],
                    "healthy": status["healthy"], "load": os.getloadavg()[0],
                })
            except (RuntimeError, ValueError, TypeError, KeyError) as error:
                self.seen.append({"at": time.time(), "error": str(error)[-300:], "load": os.getloadavg()[0]})

    def end(self):
        self.over.set()
        self.thread.join()


def race(trio, etcd, options, results):
    load = Load(trio.network.address, fresh(trio.directory / "load"), options)
    load.prepare()
    trio.settle()
    before = trio.status()["lease"]
    begun, looks = time.time(), Looks(trio)
    looks.thread.start()
    load.begin(options.minutes * 60)
    pauses = []
    try:
        while time.time() + options.every + AFTER_SECONDS < load.until:
            time.sleep(options.every)
            what = PAUSED[len(pauses) % len(PAUSED)]
            at = time.time()
            pauses.append((at, what, pause(what, trio, etcd, len(pauses) // len(PAUSED), options.pause)))
            print(f"  {time.time() - begun:7.0f} s: {pauses[-1][2]} stood still, load {os.getloadavg()[0]:.1f}", flush=True)
        load.wait()
    finally:
        looks.end()
    counts, longest = load.seconds()
    for number, (at, what, thing) in enumerate(pauses, 1):
        held_up = max((longest.get(second, 0.0) for second in range(int(at) - 1, int(at) + AFTER_SECONDS)), default=0.0)
        results.note(number, f"longest transaction, {what} paused", "lifeboat", held_up, at=f"{at:.3f}", thing=thing)
    told(trio, before, begun, load, looks, counts, longest, results)


def told(trio, before, begun, load, looks, counts, longest, results):
    after = trio.status()["lease"]
    entries = [entry for entry in trio.journal() if entry["at_milliseconds"] >= begun * 1000]
    alarms = [line for line in (trio.alarms.read_text().splitlines() if trio.alarms.exists() else []) if float(line.split()[0]) >= begun]
    taken = [entry for entry in entries if entry["what"] == "lease taken"]
    loads = [look["load"] for look in looks.seen]
    rates = [counts.get(second, 0) for second in range(int(begun) + 1, int(load.until) - 1)]
    results.more = {"journal": entries, "alarms": alarms, "errors": load.errors, "looks": looks.seen, "lease": {"before": before, "after": after}}
    results.limit("the whole time, under load", {
        "failovers": len(taken),
        "epochs_more": after["epoch"] - before["epoch"],
        "holder_changed": int(before["holder"] != after["holder"]),
        "client_errors": len(load.errors),
        "alarms": len(alarms),
        "looks": len(looks.seen),
        "looks_not_healthy": sum(not look.get("healthy") for look in looks.seen),
        "transactions": sum(counts.values()),
        "transactions_per_second_median": statistics.median(rates) if rates else 0,
        "seconds_without_a_transaction": sum(rate == 0 for rate in rates),
        "longest_transaction_seconds": max(longest.values(), default=0.0),
        "load_mean": statistics.mean(loads) if loads else 0.0,
        "load_max": max(loads, default=0.0),
    })


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    report.options(parser, "false-alarms", rounds=1)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=60, help="seconds between two pauses")
    parser.add_argument("--pause", type=float, default=1, help="seconds that something stands still")
    parser.add_argument("--scale", type=int, default=20, help="of pgbench")
    parser.add_argument("--clients", type=int, default=8, help="of pgbench")
    parser.add_argument("--nice", type=int, default=0, help="how much everything here gives way to others")
    parser.add_argument("--beside", default="nothing else", help="what else ran on this machine meanwhile, for the results")
    options = parser.parse_args()
    os.nice(options.nice)
    # Asked to end, everything that was made is taken away.
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    directory = Path(options.directory)
    with Network(*NAMES, "store") as network:
        etcd = Etcd(network["store"], directory / "etcd")
        trio = Trio(network, directory / "members", Path(options.programs), options.lifeboat, f"{{ etcd = {json.dumps(etcd.endpoints)} }}")
        shop = SimpleNamespace(directory=directory, programs=Path(options.programs))
        tool = SimpleNamespace(name="lifeboat", version=lambda: [options.lifeboat, "--version"])
        results = report.Report("false_alarms", options, shop, [tool, SimpleNamespace(name="etcd", version=lambda: ["etcd", "--version"])])
        try:
            trio.begin()
            race(trio, etcd, options, results)
            results.end()
        finally:
            trio.end()
            etcd.end()


if __name__ == "__main__":
    main()
