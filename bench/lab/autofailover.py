"""Three nodes of pg_auto_failover, each in a host of its own, and its monitor in another that is never touched."""

import json

from lab import database
from lab.hosts import call, fresh, until
from lab.shop import give_to_postgres
from lab.trio import NAMES

MONITOR, MONITOR_PORT = "monitor", 6000
SETTLE_SECONDS_MAX = 240
STATES = "select json_agg(json_build_object('name', nodename, 'state', reportedstate, 'goal', goalstate)) from pgautofailover.node"
# Of the monitor, in milliseconds. Its documentation names no least; a keeper reports once a second.
FASTEST = {
    "health_check_period": 500, "health_check_timeout": 500, "health_check_max_retries": 1, "health_check_retry_delay": 100,
    "node_considered_unhealthy_timeout": 3000, "primary_demote_timeout": 1000,
}


class AutoFailover:
    def __init__(self, network, directory, programs, timing):
        self.network, self.directory, self.programs, self.timing = network, fresh(directory), programs, timing
        self.hosts, self.agents = [network[name] for name in NAMES], {}
        self.ports = {MONITOR: MONITOR_PORT} | {host.name: MONITOR_PORT + 1 + number for number, host in enumerate(self.hosts)}
        self.monitor = f"postgres://autoctl_node@{network[MONITOR].address}:{MONITOR_PORT}/pg_auto_failover?sslmode=disable"

    def ways(self):
        """Its own way: `pg_autoctl show uri` is a list of hosts."""
        return {"list of hosts": [f"{host.address}:{self.ports[host.name]}" for host in self.hosts]}

    def _autoctl(self, name, *words):
        """As the servers' user, with a home of its own."""
        own = self.directory / name
        environment = {
            "HOME": str(own), "PATH": f"{self.programs}:/usr/sbin:/usr/bin:/sbin:/bin",
            "XDG_RUNTIME_DIR": str(own), "XDG_CONFIG_HOME": str(own / "config"), "XDG_DATA_HOME": str(own / "share"),
        }
        return ["env", *(f"{key}={value}" for key, value in environment.items()), "pg_autoctl", *words]

    def _make(self, name, *words):
        host, own = self.network[name], self.directory / name
        own.mkdir(mode=0o700)
        give_to_postgres(own)
        command = self._autoctl(
            name, "create", *words, "--pgdata", own / "data", "--pgctl", self.programs / "pg_ctl", "--pgport", self.ports[name],
            "--hostname", host.address, "--auth", "trust", "--no-ssl",
        )
        said = host.run(*command, user="postgres")
        (self.directory / f"{name}.log").write_text(said)
        with open(own / "data/pg_hba.conf", "a") as file:
            file.write("\n".join(database.trusting(self.network.addresses)) + "\n")

    def begin(self):
        self._make(MONITOR, "monitor")
        with open(self.directory / MONITOR / "data/postgresql.conf", "a") as file:
            file.writelines(f"pgautofailover.{name} = {value}\n" for name, value in self.timing.items())
        self.start(MONITOR)
        until("the monitor", 60, lambda: self._states() or True)
        for host in self.hosts:
            first = host is self.hosts[0]
            self._make(host.name, "postgres", "--name", host.name, "--monitor", self.monitor, "--pg-hba-lan")
            if first:
                with open(self.directory / host.name / "data/postgresql.conf", "a") as file:
                    file.writelines(f"{name} = '{value}'\n" for name, value in database.SETTINGS.items())
            self.start(host.name)
            until(f"{host.name} of pg_auto_failover", SETTLE_SECONDS_MAX, lambda: self._stable(host.name), every=0.2)
        self.settle()

    def start(self, name):
        command = self._autoctl(name, "run", "--pgdata", self.directory / name / "data")
        self.agents[name] = self.network[name].start(*command, log=self.directory / f"{name}.log", user="postgres")

    def _states(self):
        return json.loads(call(["psql", "-qAtX", "-c", STATES, self.monitor]).strip() or "[]")

    def _stable(self, name):
        mine = [node for node in self._states() if node["name"] == name]
        return mine and mine[0]["state"] == mine[0]["goal"] and mine[0]["state"] in ("single", "primary", "secondary", "wait_primary")

    def settle(self):
        """Until one is the primary and the others follow it. Returns the primary's name."""
        return until("the cluster is whole", SETTLE_SECONDS_MAX, self._primary)

    def _primary(self):
        nodes = self._states()
        whole = all(node["state"] == node["goal"] for node in nodes)
        if not whole or sorted(node["state"] for node in nodes) != ["primary", "secondary", "secondary"]:
            return None
        return next(node["name"] for node in nodes if node["state"] == "primary")

    def switchover(self):
        command = self._autoctl(MONITOR, "perform", "switchover", "--pgdata", self.directory / MONITOR / "data")
        self.network[MONITOR].run(*command, user="postgres")

    def end(self):
        for name in self.agents:
            self.network[name].kill()
        for agent in self.agents.values():
            agent.wait()
