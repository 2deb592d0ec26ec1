#!/usr/bin/env python3
"""How long nobody can write when the primary is lost: Lifeboat, Patroni, pg_auto_failover; the same faults, the same clients.

Each member is a host of its own (a network namespace); commits wait for one standby everywhere. A round: clients write, the primary's host
is killed (`kill`: every process at once, its kernel still answers), or cut off (`cut`: silence), or another is made the primary in good
order (`switchover`). Measured is from the fault to the first write that anybody got acknowledged by another server, and the longest that
nobody, and that one client, had none. Then the host comes back, and when the cluster is whole every acknowledged write must be there.

    cargo xtask bench failover                                   as root: it makes network namespaces; 10 GB of disk
    cargo xtask bench failover --only Lifeboat --faults switchover --rounds 1
"""

import argparse
import collections
import json
import random
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

from lab import autofailover, patroni, picture, report
from lab.database import LEDGER
from lab.etcd import Etcd
from lab.far import FarStore
from lab.hosts import Network, call, fresh, until
from lab.shop import SEED
from lab.trio import NAMES, Trio

FAULTS = ("kill", "cut", "switchover")
WRITERS = 4
# So many acknowledged writes of each client before a fault.
WARM_WRITES = 20
LOST_SECONDS_MAX = 150
HERE = Path(__file__).resolve().parent


class Writers:
    """The clients of one round, and what became of their writes. For each way they take, four: two with sessions, two that connect anew."""

    def __init__(self, ways, first, directory):
        self.processes, self.way_of, self.path = [], {}, fresh(directory) / "ledger"
        self.path.touch()
        for way, places in ways.items():
            command = [patroni.PROGRAMS / "python", HERE / "lab/writers.py", self.path, first, WRITERS, *places]
            self.processes.append(subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL))
            self.way_of |= {client: way for client in range(first, first + WRITERS)}
            first += WRITERS

    def lines(self):
        """(moment, client, number, server or None, words) of everything so far."""
        found = []
        for line in self.path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                moment, client, number, server, *words = line.split(maxsplit=4)
                server = None if server == "-" else server
                found.append((float(moment), int(client), int(number), server, "".join(words).strip()))
        return found

    def wait(self, what, enough):
        """Until each client has what it must: `enough` says so of its lines."""
        def look():
            lines = collections.defaultdict(list)
            for line in self.lines():
                lines[line[1]].append(line)
            return all(enough(lines[client]) for client in self.way_of)

        until(what, LOST_SECONDS_MAX, look)

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()


def fault_of(kind, tool, host):
    """Does it. Returns the moment just before, and what must be done about it later."""
    if kind == "kill":
        return host.kill(), lambda: tool.start(host.name)
    if kind == "cut":
        return host.cut(), host.heal
    begun = time.monotonic()
    order = threading.Thread(target=ordered, args=(tool,))
    order.start()
    return begun, order.join


def ordered(tool):
    try:
        tool.switchover()
    except RuntimeError as error:
        print(f"  switchover: {error}", flush=True)


def longest(moments):
    """Between two that follow each other."""
    return max((later - earlier for earlier, later in zip(moments, moments[1:])), default=0.0)


def figures(way, writers, begun, old):
    """Of the clients of one way: what they saw of the fault."""
    clients = [client for client, taken in writers.way_of.items() if taken == way]
    lines = sorted(line for line in writers.lines() if line[1] in clients)
    acknowledged = [line for line in lines if line[3]]
    moments = {client: [line[0] for line in acknowledged if line[1] == client] for client in clients}
    first = min(line[0] for line in acknowledged if line[0] > begun and line[3] != old)
    wrong = [line for line in lines if not line[3]]
    return {
        "first_write_seconds": first - begun,
        "nobody_writes_seconds": longest([line[0] for line in acknowledged]),
        "worst_client_seconds": max(map(longest, moments.values())),
        "errors_of_sessions": sum(line[1] % 2 == 0 for line in wrong),
        "errors_of_new_connections": sum(line[1] % 2 == 1 for line in wrong),
        "acknowledged": len(acknowledged),
        "of_each_client": {str(client): round(longest(found), 4) for client, found in moments.items()},
        "said": dict(collections.Counter(line[4] for line in wrong).most_common(5)),
    }


def ledger(tool, name, first, last):
    """What the primary has of these clients."""
    place = tool.ways()["list of hosts"][NAMES.index(name)]
    host, port = place.rsplit(":", 1)
    query = f"copy (select client, number from ledger where client between {first} and {last}) to stdout"
    said = call(["psql", "-qAtX", "-h", host, "-p", port, "-U", "postgres", "-c", query, "postgres"])
    return {tuple(map(int, line.split())) for line in said.splitlines()}


class Race:
    """One tool's rounds."""

    def __init__(self, name, tool, options, results):
        self.name, self.tool, self.options, self.results = name, tool, options, results
        self.next_client = 0

    def run(self):
        begun = time.monotonic()
        self.tool.begin()
        self._table()
        print(f"{self.name}: made in {time.monotonic() - begun:.0f} s", flush=True)
        rounds = self.options.rounds if self.name.startswith("Lifeboat") else self.options.peer_rounds or self.options.rounds
        for number in range(1, rounds + 1):
            for kind in self.options.faults.split(","):
                self._round(kind, number)
            self.results.keep()

    def _table(self):
        name = self.tool.settle()
        host, port = self.tool.ways()["list of hosts"][NAMES.index(name)].rsplit(":", 1)
        call(["psql", "-qX", "-h", host, "-p", port, "-U", "postgres", "-c", LEDGER, "postgres"])

    def _round(self, kind, number):
        host = self.tool.network[self.tool.settle()]
        ways = self.tool.ways()
        first = self.next_client
        self.next_client += WRITERS * len(ways)
        writers = Writers(ways, first, Path(self.options.directory) / "clients")
        try:
            writers.wait("clients write", lambda lines: sum(bool(line[3]) for line in lines) >= WARM_WRITES)
            # At any point between two looks of whoever watches.
            time.sleep(self.options.random.uniform(1, 4))
            begun, undo = fault_of(kind, self.tool, host)
            try:
                writers.wait(
                    f"{self.name}: clients write again after {kind}",
                    lambda lines: any(line[0] > begun and line[3] and line[3] != host.address for line in lines),
                )
                time.sleep(1)
            finally:
                back = time.monotonic()
                undo()
        finally:
            writers.end()
        name = self.tool.settle()
        whole = time.monotonic() - back
        there = ledger(self.tool, name, first, self.next_client - 1)
        for way in ways:
            seen = figures(way, writers, begun, host.address)
            mine = {line[1:3] for line in writers.lines() if line[3] and writers.way_of[line[1]] == way}
            seconds = seen["nobody_writes_seconds"] if kind == "switchover" else seen["first_write_seconds"]
            self.results.note(
                number, kind, f"{self.name}, {way}", seconds, **seen, lost=len(mine - there), whole_again_seconds=whole,
                fault=kind, name=self.name, way=way, was=host.name, now=name,
            )


def keep_logs(directory, into):
    """What the members said, when something went wrong."""
    shutil.rmtree(into, ignore_errors=True)
    leave = shutil.ignore_patterns("data", "*.key", "token", "*.sock", ".s.*")
    shutil.copytree(directory, into, ignore=leave, ignore_dangling_symlinks=True)


def tools(network, directory, options):
    """Name, and how to make it."""
    etcd, far = [], []

    def with_etcd():
        if not etcd:
            etcd.append(Etcd(network["store"], directory / "etcd"))
        return etcd[0]

    def with_far():
        if not far:
            far.append(FarStore(fresh(directory / "store"), options.milliseconds, network.address).__enter__())
            for name in NAMES:
                far[0].reach_from(network[name])
        return far[0]

    def lifeboat(lease, locations=""):
        return Trio(network, directory / "members", Path(options.programs), options.lifeboat, lease, locations)

    made = {
        "Lifeboat, etcd": lambda: lifeboat(f"{{ etcd = {json.dumps(with_etcd().endpoints)} }}"),
        f"Lifeboat, bucket {options.milliseconds:g} ms away": lambda: lifeboat('{ location = "far" }', f"[location.far]\n{with_far().for_lifeboat()}"),
        "Patroni": lambda: patroni.Patroni(network, directory / "members", Path(options.programs), with_etcd(), patroni.DEFAULTS),
        "Patroni, fastest": lambda: patroni.Patroni(network, directory / "members", Path(options.programs), with_etcd(), patroni.FASTEST),
        "pg_auto_failover": lambda: autofailover.AutoFailover(network, directory / "members", Path(options.programs), {}),
        "pg_auto_failover, fastest": lambda: autofailover.AutoFailover(network, directory / "members", Path(options.programs), autofailover.FASTEST),
    }
    return made, etcd, far


def race(name, make, options, results, directory):
    """All rounds of one tool; one that goes wrong ends its tool's race, and no other's."""
    tool = None
    try:
        tool = make()
        Race(name, tool, options, results).run()
    except Exception:
        wrong = traceback.format_exc()
        print(wrong, flush=True)
        results.facts.setdefault("broken_off", {})[name] = wrong.strip().splitlines()[-1]
        keep_logs(directory / "members", directory / "broken" / re.sub(r"\W+", "-", name))
    finally:
        if tool:
            tool.end()
        results.keep()


def better(runs):
    """Tool by fault: its rounds by the way that was better for it. Lifeboat's way is its proxy."""
    groups = collections.defaultdict(list)
    for run in runs:
        groups[run["fault"], run["name"], run["way"]].append(run)
    chosen = {}
    for (kind, name, way), found in groups.items():
        best = chosen.setdefault(kind, {}).get(name)
        ours = name.startswith("Lifeboat")
        if best is None or (way == "proxy" if ours else _median(found) < _median(best)):
            chosen[kind][name] = found
    return chosen


def _median(runs):
    return statistics.median(run["seconds"] for run in runs)


def table(runs):
    """For each tool and fault median, least and most; errors of those that connect for each write; lost writes."""
    chosen = better(runs)
    names = list(dict.fromkeys(run["name"] for run in runs))
    head = " | ".join(f"{kind} | errors" for kind in chosen)
    lines = [f"| | {head} | lost writes |", "|---" * (2 + 2 * len(chosen)) + "|"]
    for name in names:
        cells = []
        for kind, tools_of in chosen.items():
            found = tools_of.get(name, [])
            seconds = [run["seconds"] for run in found]
            cells.append(f"{_median(found):.2f} s ({min(seconds):.2f} – {max(seconds):.2f}), {found[0]['way']}" if found else "")
            cells.append(f"{statistics.median(run['errors_of_new_connections'] for run in found):g}" if found else "")
        lost = sum(run["lost"] for run in runs if run["name"] == name)
        lines.append(f"| {name} | {' | '.join(cells)} | {lost} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    report.options(parser, "failover", rounds=5)
    parser.add_argument("--only", default="", help="those whose name begins so")
    parser.add_argument("--peer-rounds", type=int, default=0, help="of each peer; nought: as many")
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--milliseconds", type=float, default=30, help="how far the bucket is, there and back")
    parser.add_argument("--beside", default="nothing else", help="what else ran on this machine meanwhile, for the results")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    directory = Path(options.directory)
    versions = [
        SimpleNamespace(name=name, version=lambda words=words: words) for name, words in (
            ("lifeboat", [options.lifeboat, "--version"]), ("patroni", [patroni.PROGRAMS / "patroni", "--version"]),
            ("pg_auto_failover", ["pg_autoctl", "--version"]), ("haproxy", ["haproxy", "-v"]), ("etcd", ["etcd", "--version"]))
    ]
    fresh(directory)
    results = report.Report("failover", options, SimpleNamespace(directory=directory, programs=Path(options.programs)), versions)
    options.random = random.Random(SEED)
    with Network(*NAMES, "store", "monitor") as network:
        made, etcd, far = tools(network, directory, options)
        try:
            for name, make in made.items():
                if name.lower().startswith(options.only.lower()):
                    begun = time.monotonic()
                    race(name, make, options, results, directory)
                    print(f"{name}: {time.monotonic() - begun:.0f} s in all", flush=True)
        finally:
            for store in far:
                store.__exit__()
            for store in etcd:
                store.end()
    results.end()
    if results.runs:
        print(table(results.runs))
        with open(results.stem.with_suffix(".md"), "a") as file:
            file.write(f"\n{table(results.runs)}\n")
        seconds = {kind: {name: [run["seconds"] for run in found] for name, found in names.items()} for kind, names in better(results.runs).items()}
        results.stem.with_suffix(".svg").write_text(picture.bars(seconds))


if __name__ == "__main__":
    main()
