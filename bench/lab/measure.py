"""Runs one program to its end and says what it cost: wall clock, CPU, memory of the whole tree of processes.

Memory is seen twice. `rss_tree` is the sum of the resident memory of all processes of the tree, sampled; pages that
processes share count once for each, as `ps` shows them. `rss_process` is the kernel's own high-water mark of the largest
process (the "maximum resident set size" of `/usr/bin/time -v`).
"""

import os
import subprocess
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.05
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Cost:
    """What one run cost. CPU is that of the program and of all children it waited for."""

    seconds: float
    cpu_user_seconds: float
    cpu_system_seconds: float
    rss_tree_bytes: int
    rss_process_bytes: int
    processes_max: int
    written_bytes: int
    stdout: str = ""

    def figures(self):
        """Everything but the program's output."""
        return {name: value for name, value in asdict(self).items() if name != "stdout"}


def run(arguments, environment=None, cwd="/"):
    """Runs and measures. Raises with the program's own words when it fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        sampler = _Sampler(process.pid)
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        sampler.stop()
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode(), err.read().decode()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, arguments))} ended with {process.returncode}\n{stdout}{stderr}")
    return Cost(
        seconds=seconds,
        cpu_user_seconds=usage.ru_utime,
        cpu_system_seconds=usage.ru_stime,
        rss_tree_bytes=max(sampler.peak, usage.ru_maxrss * 1024),
        rss_process_bytes=usage.ru_maxrss * 1024,
        processes_max=sampler.processes_max,
        written_bytes=usage.ru_oublock * 512,
        stdout=stdout,
    )


class _Sampler(threading.Thread):
    def __init__(self, root):
        super().__init__(daemon=True)
        self.root, self.peak, self.processes_max = root, 0, 0
        self._over = threading.Event()

    def run(self):
        while not self._over.wait(SAMPLE_SECONDS):
            tree = _tree(self.root)
            self.processes_max = max(self.processes_max, len(tree))
            self.peak = max(self.peak, sum(_rss(pid) for pid in tree))

    def stop(self):
        self._over.set()
        self.join()


def _tree(root):
    """The process and its descendants, by /proc/PID/task/TID/children."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                waiting.extend(int(child) for child in children.read_text().split())
            except OSError:
                pass  # it ended meanwhile
    return found


def _rss(pid):
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0
