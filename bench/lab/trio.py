"""Three members of Lifeboat, each in a host of its own, and a proxy beside the clients. Times and mode are those that it comes with."""

import json
import subprocess

from lab import database
from lab.hosts import call, fresh, until

NAMES = ("virginia", "ohio", "oregon")
AGENT_PORT, PROXY_PORT = 7432, 6432
SETTLE_SECONDS_MAX = 180


class Trio:
    """`lease` is the text of the setting, `locations` that of the sections it names."""

    def __init__(self, network, directory, programs, program, lease, locations=""):
        self.network, self.directory, self.programs, self.program = network, fresh(directory), programs, program
        self.hosts = [network[name] for name in NAMES]
        self.lease, self.locations = lease, locations
        self.proxy, self.agents = None, {}
        self.alarms = self.directory / "alarms"
        (self.directory / "token").write_text("a token for races only")
        (self.directory / "token").chmod(0o600)
        certificates(self.directory, [network.address, *(host.address for host in self.hosts)])
        alarm = self.directory / "alarm.sh"
        alarm.write_text(f'#!/bin/sh\necho "$(date +%s.%3N) $LIFEBOAT_ALARM $LIFEBOAT_ALARM_KIND: $1" >> {self.alarms}\n')
        alarm.chmod(0o755)
        for name in NAMES:
            (self.directory / name).mkdir()
            self.config(name).write_text(self._member(name, alarm))
        self.config("client").write_text(
            f'{self.locations}\n[cluster.shop]\nlease = {self.lease}\n{self._shared()}'
            f'proxy = {{ primary = "{network.address}:{PROXY_PORT}" }}\n{self._members()}'
        )

    def config(self, name):
        return self.directory / f"{name}.toml"

    def _shared(self):
        files = ", ".join(f'{what} = "{self.directory}/{file}"' for what, file in
                          (("certificate", "member.pem"), ("key", "member.key"), ("authority", "ca.pem")))
        return f'token = {{ file = "{self.directory}/token" }}\ntls = {{ {files} }}\n'

    def _member(self, name, alarm):
        own = self.directory / name
        return (
            f'{self.locations}\n[cluster.shop]\nthis_member = "{name}"\ndata_dir = "{own}/data"\n'
            f'connection = "host={own} port={database.PORT} user=postgres dbname=postgres"\nreplication = "user=postgres"\n'
            f'bin_dir = "{self.programs}"\nlease = {self.lease}\nlisten = "{self.network[name].address}:{AGENT_PORT}"\n{self._shared()}'
            f'state_dir = "{self.directory}/{name}-state"\nalarm = {{ command = ["{alarm}"] }}\n{self._members()}'
        )

    def _members(self):
        return "".join(
            f'[cluster.shop.member.{host.name}]\nagent = "https://{host.address}:{AGENT_PORT}"\n'
            f'database = "{host.address}:{database.PORT}"\nregion = "region-{host.name}"\n' for host in self.hosts
        )

    def begin(self):
        database.lay(self.hosts, [self.directory / name for name in NAMES], self.programs, self.network.addresses)
        first = self.directory / NAMES[0]
        self.hosts[0].run(
            self.programs / "pg_ctl", "-D", first / "data", "-w", "-l", first / "first.log", "start", user="postgres"
        )
        for name in NAMES:
            self.start(name)
        until("bootstrap", 60, lambda: self.call("bootstrap", "--member", NAMES[0]) or True, every=0.2)
        with open(self.directory / "proxy.log", "ab") as log:
            command = [self.program, "--config", self.config("client"), "proxy", "shop"]
            self.proxy = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.settle()

    def start(self, name):
        """The agent of a host, as its service would."""
        host = self.network[name]
        self.agents[name] = host.start(
            self.program, "--config", self.config(name), "agent", log=self.directory / f"{name}.log",
            environment={"LIFEBOAT_LOG": "warn,lifeboat_agent=info"},
        )

    def ways(self):
        return {
            "proxy": [f"{self.network.address}:{PROXY_PORT}"],
            "list of hosts": [f"{host.address}:{database.PORT}" for host in self.hosts],
        }

    def switchover(self):
        self.call("switchover")

    def agent_pid(self, name):
        """The agent itself, not the process that ends the database."""
        return self.agents[name].pid

    def call(self, *words, check=True):
        """`lifeboat cluster`, beside the clients."""
        command = [self.program, "--config", self.config("client"), "--json", "cluster", *words]
        if check:
            return call(command)
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout

    def status(self):
        return json.loads(self.call("status", check=False))

    def settle(self):
        """Until everything is as it should be. Returns the primary's name."""
        return until("the cluster is whole", SETTLE_SECONDS_MAX, self._primary)

    def _primary(self):
        status = self.status()
        states = [member["status"]["state"] for member in status["members"] if member["answers"]]
        whole = status["healthy"] and sorted(states) == ["primary", "standby", "standby"] and status["lease"]["state"] == "held"
        return status["lease"]["holder"] if whole else None

    def journal(self):
        """What all members wrote down, in order."""
        entries = []
        for path in self.directory.glob("*-state/**/journal.jsonl*"):
            entries += [json.loads(line) for line in path.read_text().splitlines()]
        return sorted(entries, key=lambda entry: entry["at_milliseconds"])

    def end(self):
        if self.proxy:
            self.proxy.kill()
            self.proxy.wait()
        for host in self.hosts:
            host.kill()
        for agent in self.agents.values():
            agent.wait()


def certificates(directory, addresses):
    """An authority, and a certificate that it signed for all of these addresses."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    names = ",".join(f"IP:{address}" for address in addresses)
    (directory / "extensions").write_text(f"subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", "-days", "2", "-subj", "/CN=lifeboat races", "-keyout", "ca.key", "-out", "ca.pem", *key)
    openssl("req", "-subj", "/CN=member", "-keyout", "member.key", "-out", "member.csr", *key)
    openssl("x509", "-req", "-days", "2", "-in", "member.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-extfile", "extensions", "-out", "member.pem")
