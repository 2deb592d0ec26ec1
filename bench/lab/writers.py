"""Clients that write and remember what was acknowledged. Run by the Python that has the driver, one process for all clients of a way.

    python writers.py LEDGER FIRST COUNT HOST:PORT...      until it is killed

One host and port: a proxy. Several: libpq's list, in an order drawn anew each time, until one says that it takes writes. A client writes a row
at a time, with a short pause; one with an even number keeps its session, one with an odd number connects for each row. When anything fails
it connects anew after the same pause. What happens is a line in the ledger: moment (of the clock that all processes share), client, number,
and by whom it was acknowledged, or `-` and what was wrong.
"""

import random
import select
import sys
import threading
import time

from psycopg import pq

PAUSE_SECONDS = 0.01
# Until the other side takes a connection: a proxy, or each host of a list.
CONNECT_SECONDS_MAX = 1.0
# A session whose other side is silent is given up: what is on its way after a second, when nothing is after two.
SESSION = (
    "user=postgres dbname=postgres sslmode=disable gssencmode=disable application_name=race target_session_attrs=read-write "
    "tcp_user_timeout=1000 keepalives_idle=1 keepalives_interval=1 keepalives_count=1"
)
# Whoever has taken a connection may think for longer: a proxy may hold it back while nobody is the primary.
ANSWER_SECONDS_MAX = 10.0
INSERT = b"insert into ledger values ($1, $2) returning inet_server_addr()"


class Failed(Exception):
    pass


def connect(host, port):
    """A session with a server that takes writes."""
    session = pq.PGconn.connect_start(f"host={host} port={port} {SESSION}".encode())
    deadline, answered = time.monotonic() + CONNECT_SECONDS_MAX, False
    wanted = pq.PollingStatus.WRITING
    while True:
        if session.status == pq.ConnStatus.BAD:
            raise Failed(session.error_message.decode().strip())
        reading = wanted == pq.PollingStatus.READING
        if reading and not answered:
            # The other side has taken the connection.
            deadline, answered = time.monotonic() + ANSWER_SECONDS_MAX, True
        left = deadline - time.monotonic()
        files = [session.socket]
        ready = left > 0 and select.select(files if reading else [], [] if reading else files, [], left)
        if not ready or not any(ready):
            session.finish()
            raise Failed(f"no answer from {host}:{port} in time")
        wanted = session.connect_poll()
        if wanted == pq.PollingStatus.OK:
            return session
        if wanted == pq.PollingStatus.FAILED:
            said = session.error_message.decode().strip()
            session.finish()
            raise Failed(said)


def led(places):
    """By the first that takes writes, whichever order they are asked in."""
    said = ""
    for host, port in random.sample(places, len(places)):
        try:
            return connect(host, port)
        except Failed as error:
            said = str(error)
    raise Failed(said)


def write(client, places, ledger):
    session, number = None, 0
    while True:
        number += 1
        try:
            session = session or led(places)
            done = session.exec_params(INSERT, [str(client).encode(), str(number).encode()])
            if done.status != pq.ExecStatus.TUPLES_OK:
                raise Failed((done.error_message or session.error_message).decode().strip())
            moment, said = time.monotonic(), done.get_value(0, 0).decode()
        except (Failed, OSError) as error:
            moment, said = time.monotonic(), f"- {' '.join(str(error).split())}"
        ledger.write(f"{moment:.4f} {client} {number} {said}\n")
        if session and (client % 2 or said.startswith("-")):
            session.finish()
            session = None
        time.sleep(PAUSE_SECONDS)


def main():
    path, first, count, *places = sys.argv[1:]
    places = [(place.rsplit(":", 1)[0], place.rsplit(":", 1)[1]) for place in places]
    # A line is in the file when it is written: whoever kills this process loses none.
    with open(path, "a", buffering=1) as ledger:
        threads = [threading.Thread(target=write, args=(int(first) + number, places, ledger)) for number in range(int(count))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
