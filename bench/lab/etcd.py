"""Three members of etcd in one host that is never touched, as it comes: real syncs, its own timings."""

import json
import signal
import urllib.request

from lab.hosts import fresh, until

MEMBERS = 3
START_SECONDS_MAX = 60


class Etcd:
    def __init__(self, host, directory):
        self.host, self.directory, self.processes = host, fresh(directory), []
        self.endpoints = [f"http://{host.address}:{2379 + 10 * number}" for number in range(MEMBERS)]
        peers = [f"http://{host.address}:{2380 + 10 * number}" for number in range(MEMBERS)]
        cluster = ",".join(f"m{number}={peer}" for number, peer in enumerate(peers))
        for number in range(MEMBERS):
            self.processes.append(host.start(
                "etcd", "--name", f"m{number}", "--initial-cluster", cluster, "--initial-cluster-state", "new",
                "--listen-client-urls", self.endpoints[number], "--advertise-client-urls", self.endpoints[number],
                "--listen-peer-urls", peers[number], "--initial-advertise-peer-urls", peers[number],
                "--data-dir", self.directory / str(number), log=self.directory / f"{number}.log",
            ))
        for endpoint in self.endpoints:
            until(f"etcd at {endpoint}", START_SECONDS_MAX, lambda: "true" in ask(f"{endpoint}/health"))

    def leads(self, number):
        """Whether this member leads the others."""
        status = json.loads(ask(f"{self.endpoints[number]}/v3/maintenance/status", b"{}"))
        return status["leader"] == status["header"]["member_id"]

    def signal(self, number, what=signal.SIGSTOP):
        self.processes[number].send_signal(what)

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()


def ask(url, body=None):
    with urllib.request.urlopen(url, data=body, timeout=2) as answer:
        return answer.read().decode()
