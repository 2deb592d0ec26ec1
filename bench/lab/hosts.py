"""Hosts, as far as networks and processes go: each a network namespace with an address of its own, on one bridge.

What runs in a host is told from everything else on this machine by its namespace, and nothing else is ever ended. This machine itself is on
the network too, as the place of the clients. Whatever an earlier, killed run left under the same number is taken away first.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from lab.far import DOOR
from lab.shop import as_postgres

NETWORKS_MAX = 32
FIRST_ADDRESS = 11
LOCKS = Path("/var/tmp/lifeboat-bench")
END_SECONDS_MAX = 20


class Host:
    def __init__(self, name, namespace, line, address):
        self.name, self.namespace, self.line, self.address = name, namespace, line, address

    def command(self, *words, user=None):
        """To be run in this host; `user` is None for root, or "postgres"."""
        inside = as_postgres() if user == "postgres" else []
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *inside, *map(str, words)]

    def run(self, *words, user=None, environment=None):
        """Runs it to its end. Returns what it said; raises with its own words when it fails."""
        return call(self.command(*words, user=user), environment)

    def start(self, *words, log, user=None, environment=None):
        """Begins what goes on. Its words go to the end of `log`."""
        with open(log, "ab") as out:
            return subprocess.Popen(
                self.command(*words, user=user), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/",
                env={**os.environ, **(environment or {})}, start_new_session=True,
            )

    def processes(self):
        """Command line by process id."""
        try:
            ours = os.stat(f"/run/netns/{self.namespace}").st_ino
        except OSError:
            return {}
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.stat(entry / "ns/net").st_ino == ours:
                        line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                        found[int(entry.name)] = line
                except OSError:
                    pass  # it ended meanwhile
        return {number: line for number, line in found.items() if line}

    def signal(self, what, meant=lambda line: True):
        """To all that are meant. Returns how many there were."""
        numbers = [number for number, line in self.processes().items() if meant(line)]
        for number in numbers:
            try:
                os.kill(number, what)
            except ProcessLookupError:
                pass
        return len(numbers)

    def kill(self, meant=lambda line: f" {DOOR} " not in line):
        """Everything at once, without a last word; its line stays. Returns the moment before the first."""
        def found():
            return [number for number, line in self.processes().items() if meant(line)]

        numbers = found()
        begun = time.monotonic()
        while numbers:
            for number in numbers:
                try:
                    os.kill(number, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if time.monotonic() - begun > END_SECONDS_MAX:
                raise RuntimeError(f"host {self.name} doesn't end: {self.processes()}")
            time.sleep(0.002)
            numbers = found()
        return begun

    def cut(self):
        """Its line is taken down: silence. Returns the moment before."""
        begun = time.monotonic()
        call(["ip", "link", "set", self.line, "down"])
        return begun

    def heal(self):
        call(["ip", "link", "set", self.line, "up"])


def is_server(line):
    """A process of PostgreSQL's."""
    program = line.split(" ")[0]
    return program == "postgres:" or program.endswith("/postgres")


class Network:
    """A bridge with its hosts. A context: everything in it ends with it."""

    def __init__(self, *names):
        self.names, self.hosts, self.lock = names, {}, None

    def __enter__(self):
        self.number = self._take_number()
        self.bridge, self.prefix = f"lbrace{self.number}", f"lifeboat-race-{self.number}-"
        self.address, self.addresses = f"10.214.{self.number}.1", f"10.214.{self.number}.0/24"
        self._remove()
        try:
            call(["ip", "link", "add", self.bridge, "type", "bridge"])
            call(["ip", "address", "add", f"{self.address}/24", "dev", self.bridge])
            call(["ip", "link", "set", self.bridge, "up"])
            for place, name in enumerate(self.names):
                self._add(place, name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._remove()
        self.lock.close()

    def __getitem__(self, name):
        return self.hosts[name]

    def _take_number(self):
        LOCKS.mkdir(parents=True, exist_ok=True)
        for number in range(1, NETWORKS_MAX + 1):
            self.lock = open(LOCKS / f".network-{number}", "a")
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return number
            except BlockingIOError:
                self.lock.close()
        raise RuntimeError(f"{NETWORKS_MAX} networks of races are in use on this machine")

    def _add(self, place, name):
        host = Host(name, self.prefix + name, f"{self.bridge}v{place}", f"10.214.{self.number}.{FIRST_ADDRESS + place}")
        call(["ip", "netns", "add", host.namespace])
        self.hosts[name] = host
        call(["ip", "link", "add", host.line, "type", "veth", "peer", "name", "eth0", "netns", host.namespace])
        call(["ip", "link", "set", host.line, "master", self.bridge, "up"])
        for words in (["address", "add", f"{host.address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            call(["ip", "-n", host.namespace, *words])

    def _remove(self):
        for path in Path("/sys/class/net").glob(f"{self.bridge}v*"):
            subprocess.run(["ip", "link", "delete", path.name], capture_output=True, check=False)
        namespaces = Path("/run/netns").glob(f"{self.prefix}*") if Path("/run/netns").is_dir() else []
        for path in list(namespaces):
            Host(path.name, path.name, "", "").kill(lambda line: True)
            subprocess.run(["ip", "netns", "delete", path.name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)


def call(words, environment=None):
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, cwd="/", stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def until(what, seconds, look, every=0.05):
    """Looks until it is true, and returns that. Raises with `what` and what was last seen."""
    deadline, seen = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            seen = look()
            if seen:
                return seen
        except (OSError, RuntimeError, ValueError) as error:
            seen = error
        time.sleep(every)
    raise RuntimeError(f"{what}: not within {seconds} s; last seen: {seen}")


def fresh(directory):
    """An empty directory that the servers' user can pass through."""
    directory = Path(directory)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o755)
    return directory
