"""Three members of Patroni, each in a host of its own, and HAProxy beside the clients, set as Patroni's documentation says."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from lab import database
from lab.hosts import call, fresh, until
from lab.shop import give_to_postgres
from lab.trio import NAMES

PROGRAMS = Path("/var/tmp/lifeboat-components/patroni/bin")
API_PORT, PROXY_PORT = 8008, 6433
SETTLE_SECONDS_MAX = 240
# What its documentation names as the least, with the rule loop_wait + 2 * retry_timeout <= ttl.
DEFAULTS = {"ttl": 30, "loop_wait": 10, "retry_timeout": 10}
FASTEST = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3, "primary_start_timeout": 0}

# Its own example, with checks that are far more frequent (there: every 3 s, three failures, two successes).
HAPROXY = """
global
    maxconn 400
defaults
    mode tcp
    retries 0
    timeout client 30m
    timeout connect 1s
    timeout server 30m
    timeout check 1s
listen shop
    bind {address}:{port}
    option httpchk OPTIONS /primary
    http-check expect status 200
    default-server inter 500ms fastinter 100ms downinter 100ms fall 2 rise 1 on-marked-down shutdown-sessions
"""


class Patroni:
    def __init__(self, network, directory, programs, etcd, timing):
        self.network, self.directory, self.programs, self.etcd = network, fresh(directory), programs, etcd
        self.hosts, self.timing, self.agents, self.proxy = [network[name] for name in NAMES], timing, {}, None
        # Each cluster has keys of its own in etcd.
        self.scope = f"shop{time.time_ns()}"
        for host in self.hosts:
            own = self.directory / host.name
            own.mkdir(mode=0o700)
            give_to_postgres(own)
            # JSON is YAML.
            self.config(host.name).write_text(json.dumps(self._settings(host, own), indent=1))

    def config(self, name):
        return self.directory / f"{name}.yml"

    def _settings(self, host, own):
        return {
            "scope": self.scope, "name": host.name,
            "restapi": {"listen": f"{host.address}:{API_PORT}", "connect_address": f"{host.address}:{API_PORT}"},
            "etcd3": {"hosts": [endpoint.removeprefix("http://") for endpoint in self.etcd.endpoints]},
            "bootstrap": {
                "dcs": {
                    **self.timing, "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": database.SETTINGS,
                                   "pg_hba": database.trusting(self.network.addresses)},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"{host.address}:{database.PORT}", "connect_address": f"{host.address}:{database.PORT}",
                "data_dir": str(own / "data"), "bin_dir": str(self.programs), "pgpass": str(own / "pgpass"),
                "authentication": {who: {"username": "postgres"} for who in ("superuser", "replication", "rewind")},
                "parameters": {"unix_socket_directories": str(own)},
            },
        }

    def ways(self):
        return {
            "HAProxy": [f"{self.network.address}:{PROXY_PORT}"],
            "list of hosts": [f"{host.address}:{database.PORT}" for host in self.hosts],
        }

    def begin(self):
        for host in self.hosts:
            self.start(host.name)
            # The first makes the cluster; the others copy it.
            until(f"{host.name} of Patroni", SETTLE_SECONDS_MAX, lambda: self._role(host) in ("primary", "replica"), every=0.2)
        checks = "".join(f"    server {host.name} {host.address}:{database.PORT} check port {API_PORT}\n" for host in self.hosts)
        file = self.directory / "haproxy.cfg"
        file.write_text(HAPROXY.format(address=self.network.address, port=PROXY_PORT) + checks)
        with open(self.directory / "haproxy.log", "ab") as log:
            self.proxy = subprocess.Popen(["haproxy", "-f", file, "-db"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.settle()

    def start(self, name):
        self.agents[name] = self.network[name].start(
            PROGRAMS / "patroni", self.config(name), log=self.directory / f"{name}.log", user="postgres"
        )

    def _ask(self, host, path):
        with urllib.request.urlopen(f"http://{host.address}:{API_PORT}{path}", timeout=2) as answer:
            return json.load(answer)

    def _role(self, host):
        try:
            told = self._ask(host, "/patroni")
        except urllib.error.HTTPError as error:
            told = json.load(error)
        return told["role"] if told["state"] == "running" else None

    def settle(self):
        """Until one leads, the others follow it, and commits wait for one of them. Returns the leader's name."""
        return until("the cluster is whole", SETTLE_SECONDS_MAX, self._primary)

    def _primary(self):
        members = self._ask(self.hosts[0], "/cluster")["members"]
        roles = sorted(member["role"] for member in members if member["state"] in ("running", "streaming"))
        if roles != ["leader", "replica", "sync_standby"]:
            return None
        leader = next(member for member in members if member["role"] == "leader")
        behind = [member for member in members if member is not leader and member.get("timeline") != leader.get("timeline")]
        return None if behind else leader["name"]

    def switchover(self):
        call([PROGRAMS / "patronictl", "-c", self.config(NAMES[0]), "switchover", self.scope, "--force"])

    def end(self):
        if self.proxy:
            self.proxy.kill()
            self.proxy.wait()
        for host in self.hosts:
            host.kill()
        for agent in self.agents.values():
            agent.wait()
