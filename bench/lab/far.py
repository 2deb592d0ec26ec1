"""A store that is far away: moto's S3 on this machine, behind a proxy that holds every byte back for half a round trip.

One store serves all tools. pgBackRest speaks only TLS with stores: for it the proxy ends TLS itself, without holding back the
handshake, which favours it. Bytes are delayed, not slowed: what is sent at once arrives at once, later.

    python3 -m lab.far PORT ADDRESS:PORT MILLISECONDS [CERTIFICATE KEY]      the proxy alone
"""

import asyncio
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
# The module that a door is: what a host's line is made of isn't ended with the host.
DOOR = "lab.far"
BUCKET = "race"
KEY_ID, SECRET = "race-key", "race-secret"
START_SECONDS_MAX = 120
PROGRAM = "/var/tmp/lifeboat-components/moto/bin/moto_server"


class FarStore:
    """The server and two doors to it: plain for Lifeboat, TLS for pgBackRest; and one in each host that is far away.
    A context: everything ends with it. The server is at `address`, the doors at the address that every host calls its own."""

    def __init__(self, directory, milliseconds, address="127.0.0.1"):
        self.directory, self.milliseconds, self.address, self.processes = Path(directory), milliseconds, address, []
        self.port, self.plain, self.tls = _free_port(), _free_port(), _free_port()

    def __enter__(self):
        try:
            self._begin([PROGRAM, "-H", self.address, "-p", str(self.port)], self.port, self.address)
            certificate, key = self.directory / "store.crt", self.directory / "store.key"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                 "-out", certificate, "-keyout", key], check=True, capture_output=True,
            )
            for door, more in [(self.plain, []), (self.tls, [certificate, key])]:
                self._begin(self._door(door, *more), door)
            self.empty()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def _door(self, port, *more):
        return [sys.executable, "-m", DOOR, port, f"{self.address}:{self.port}", self.milliseconds, *more]

    def reach_from(self, host):
        """The same plain door, in a host of its own."""
        command = host.command(*self._door(self.plain))
        log = open(self.directory / "store.log", "ab")
        self.processes.append(subprocess.Popen(command, cwd=HERE, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def empty(self):
        """A bucket without anything in it."""
        self._ask("POST", "/moto-api/reset")
        self._ask("PUT", f"/{BUCKET}")

    def _ask(self, method, path):
        request = urllib.request.Request(f"http://{self.address}:{self.port}{path}", method=method)
        request.add_header("Authorization", f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20260101/us-east-1/s3/aws4_request")
        urllib.request.urlopen(request, timeout=30).read()

    def _begin(self, command, port, address="127.0.0.1"):
        log = open(self.directory / "store.log", "ab")
        process = subprocess.Popen([str(word) for word in command], cwd=HERE, stdout=log, stderr=log)
        self.processes.append(process)
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((address, port)) == 0:
                    return
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command} doesn't listen: see {log.name}")
            time.sleep(0.1)

    def for_lifeboat(self):
        """The text of a location's section."""
        return (
            f'url = "s3://{BUCKET}/lifeboat"\nendpoint = "http://127.0.0.1:{self.plain}"\nregion = "us-east-1"\n'
            f'access_key_id = {{ command = ["echo", "{KEY_ID}"] }}\nsecret_access_key = {{ command = ["echo", "{SECRET}"] }}'
        )

    def for_pgbackrest(self):
        """The text of a repository's options."""
        return (
            f"repo1-type=s3\nrepo1-path=/pgbackrest\nrepo1-s3-bucket={BUCKET}\nrepo1-s3-endpoint=127.0.0.1:{self.tls}\n"
            f"repo1-s3-uri-style=path\nrepo1-s3-region=us-east-1\nrepo1-s3-key={KEY_ID}\nrepo1-s3-key-secret={SECRET}\n"
            "repo1-storage-verify-tls=n"
        )


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def _carry(reader, writer, seconds):
    """From one side to the other, each piece `seconds` after it came."""
    pieces, loop = asyncio.Queue(maxsize=256), asyncio.get_running_loop()

    async def deliver():
        while True:
            due, piece = await pieces.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()

    delivery = asyncio.create_task(deliver())
    try:
        while piece := await reader.read(1 << 18):
            await pieces.put((loop.time() + seconds, piece))
    except OSError:
        pass
    await pieces.put((loop.time() + seconds, b""))
    try:
        await delivery
    except OSError:
        pass


async def _serve(listen, to, milliseconds, certificate=None, key=None):
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    one_way = float(milliseconds) / 2000
    address, port = to.rsplit(":", 1)

    async def door(reader, writer):
        far_reader, far_writer = await asyncio.open_connection(address, int(port), limit=1 << 20)
        await asyncio.gather(_carry(reader, far_writer, one_way), _carry(far_reader, writer, one_way))
        for side in (writer, far_writer):
            side.close()

    server = await asyncio.start_server(door, "127.0.0.1", int(listen), ssl=context, limit=1 << 20)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
