"""The database that is raced on: pgbench at some scale, and a table of text and JSON. Built once, kept between runs.

Page checksums are on. While it is built nothing is synced; before a race the server runs as an ordinary one does.
"""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

PORT = "6154"
SEED = 20_240_229

# Words from a vocabulary of 4096, the frequent ones more often: about as compressible as prose.
DOCUMENTS = """
create table words as
    select i as number, substr(md5(i::text), 1, 2 + i % 9) as word from generate_series(0, 4095) i;
create table documents (
    id bigint, title text not null, body text not null, attributes jsonb not null);
with seeded as materialized (select setseed(0.{seed}))
insert into documents
    select id, (vocabulary.all_words)[1 + (4096 * random() ^ 3)::int % 4096] || ' ' || id, body,
           jsonb_build_object(
               'id', id, 'price', (random() * 100000)::int / 100.0, 'stock', (random() * 500)::int,
               'colour', (array['red','green','blue','black','white'])[1 + (random() * 4)::int],
               'seen', timestamp '2024-01-01' + random() * interval '300 days',
               'token', md5(random()::text), 'tags', jsonb_build_array(id % 17, id % 101, 'tag-' || id % 1009))
    from (select array_agg(word order by number) as all_words from words, seeded) vocabulary,
         generate_series(1, {rows}::bigint) id,
         lateral (select array_to_string(array(
             select vocabulary.all_words[1 + (4096 * random() ^ 3)::int % 4096]
             from generate_series(1, 70 + (id % 40)::int)), ' ') as body) text;
alter table documents add primary key (id);
create index on documents (title);
drop table words;
vacuum (freeze, analyze) documents;
"""

BUILDING = """
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = 8GB
maintenance_work_mem = 1GB
autovacuum = off
"""

RACING = """
wal_level = replica
max_wal_senders = 10
archive_mode = on
archive_command = '{archive} %p'
shared_buffers = 256MB
autovacuum = off
"""


def as_postgres():
    """What to put in front of a command: PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


def give_to_postgres(path):
    """The user of the server must own what it touches."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(path, user.pw_uid, user.pw_gid)


class Shop:
    """The cluster in `directory`/data, with sockets in `directory`."""

    port = PORT

    def __init__(self, directory, programs, scale, rows):
        self.directory, self.programs, self.scale, self.rows = Path(directory), Path(programs), scale, rows
        self.data = self.directory / "data"
        self.archiver = self.directory / "archiver"

    @property
    def connection(self):
        return f"host={self.directory} port={PORT} user=postgres dbname=postgres"

    @property
    def environment(self):
        return {"PGHOST": str(self.directory), "PGPORT": PORT, "PGUSER": "postgres", "PGDATABASE": "postgres"}

    def call(self, program, *arguments, check=True):
        """One of PostgreSQL's programs; its output."""
        command = [*as_postgres(), str(self.programs / program), *map(str, arguments)]
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, cwd=self.directory, text=True, capture_output=True)
        if check and done.returncode != 0:
            raise RuntimeError(f"{program} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def query(self, text):
        """The answer as text, fields divided by `|`."""
        return self.call("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text).strip()

    def build(self):
        """Builds it unless one of this size is there."""
        wanted = f"scale {self.scale}, documents {self.rows}, seed {SEED}, layout 1\n"
        mark = self.directory / "built"
        if mark.exists() and mark.read_text() == wanted:
            return
        self.stop()
        mark.unlink(missing_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)
        print(f"building the database: {wanted}", end="", flush=True)
        self.call("initdb", "-k", "-A", "trust", "-N", "--locale=C", "-E", "UTF8", "-D", self.data)
        self._configure(BUILDING)
        self._start()
        self.call("pgbench", "-i", "-q", "-s", self.scale)
        # A statement at a time: VACUUM refuses to be one of several.
        for statement in DOCUMENTS.format(seed=SEED, rows=self.rows).split(";\n"):
            self.query(statement)
        self.stop()
        subprocess.run(["sync"], check=True)
        mark.write_text(wanted)

    def start(self):
        """Starts it for a race: durable, archiving by a script, which `archive_with` steers."""
        self.stop()
        # pgBackRest refuses an archive command without its name in it.
        script = self.directory / "archive-with-lifeboat-or-pgbackrest"
        script.write_text(f"#!/bin/sh\nread -r command < {self.archiver}\neval \"$command\"\n")
        script.chmod(0o755)
        self.archive_with("true")
        self._configure(RACING.format(archive=script))
        self._start()

    def archive_with(self, command):
        """`command` is a line of shell; "$1" is the path of the file."""
        self.archiver.write_text(command + "\n")
        self.archiver.chmod(0o644)

    def archive_also_with(self, command):
        """To those it goes to already, then to this one."""
        self.archive_with(f"{self.archiver.read_text().strip()} && ( {command} )")

    def settle(self):
        """Nothing left to write: the next one measured doesn't pay for the one before."""
        self.query("checkpoint")
        deadline = time.monotonic() + 120
        while list((self.data / "pg_wal" / "archive_status").glob("*.ready")):
            if time.monotonic() > deadline:
                raise RuntimeError("the archive command doesn't get on: see the server's log")
            time.sleep(0.1)
        subprocess.run(["sync"], check=True)

    def transactions(self, count, seed):
        """TPC-B-like transactions on two connections. Others than ever before in this database: rows that are changed a second
        time lie together, and cost an incremental backup nearly nothing."""
        seed += int(self.query("select count(*) from pgbench_history"))
        self.call("pgbench", "-n", "-c", "2", "-j", "2", "-t", count // 2, f"--random-seed={seed}")

    def _configure(self, text):
        common = f"port = {PORT}\nunix_socket_directories = '{self.directory}'\nlisten_addresses = ''\n"
        (self.data / "postgresql.auto.conf").write_text(common + text)

    def _start(self):
        self.call("pg_ctl", "-D", self.data, "-l", self.directory / "server.log", "-w", "start")

    def stop(self):
        """Stops it if it runs."""
        if (self.data / "postmaster.pid").exists():
            self.call("pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop", check=False)


def warm(path):
    """Reads every file below `path`, so that it is in the page cache."""
    for file in sorted(Path(path).rglob("*")):
        if file.is_file() and not file.is_symlink():
            with open(file, "rb", buffering=0) as opened:
                while opened.read(1 << 20):
                    pass


def bytes_below(path):
    """Length of all files below `path`, added up."""
    return sum(file.lstat().st_size for file in Path(path).rglob("*") if file.is_file())
