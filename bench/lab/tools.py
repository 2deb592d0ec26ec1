"""The tools that are raced, each as its users would set it up for speed. Where they can't be alike, the peer is favoured.

Two workers and zstd at level 3 for all. Lifeboat encrypts, the peers don't.
"""

import fcntl
import shutil
import subprocess
import time

from lab import measure
from lab.shop import as_postgres, give_to_postgres

WORKERS = 2


def set_up(directory, owned=True):
    """An empty directory in place of what was there."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    if owned:
        give_to_postgres(directory)


class Lifeboat:
    """Everything is as it comes but the number of workers, which is that of this machine."""

    name = "lifeboat"

    def __init__(self, shop, program, location=None, settings=""):
        """`location` is the text of its section, when it is no directory; `settings` goes into the workload's."""
        self.shop, self.location, self.settings = shop, location, settings
        self.repository, self.state = shop.directory / "lifeboat-repo", shop.directory / "lifeboat-state"
        # A copy that the user of the server can reach.
        self.program = shop.directory / "lifeboat"
        # What an earlier race left running in the background may still use the old one.
        self.program.unlink(missing_ok=True)
        shutil.copy(program, self.program)
        self.config, self.passphrase = shop.directory / "lifeboat.toml", shop.directory / "passphrase"
        self.passphrase.write_text("correct horse battery staple\n")
        self.passphrase.chmod(0o600)
        # A key of the machine's own, as a server has one: it needs no slow derivation at each call.
        self.key = shop.directory / "machine.key"
        self.secret = self.passphrase
        self.configure()
        give_to_postgres(self.passphrase)
        self.archive = f'exec {self.program} --config {self.config} wal push "$1"'

    def configure(self, settings=None):
        """Writes the configuration, with other settings for the workload if they are given."""
        self.settings = self.settings if settings is None else settings
        location = self.location or f'url = "file://{self.repository}"'
        self.config.write_text(
            f'state_dir = "{self.state}"\n'
            f"compression_level = 3\n"
            f"[location.main]\n{location}\n"
            f'[encryption]\npassphrase = {{ file = "{self.secret}" }}\n'
            f'[workload.shop]\nkind = "postgres"\ndata_dir = "{self.shop.data}"\nworkers = {WORKERS}\n'
            f'connection = "host={self.shop.directory} port={self.shop.port} user=postgres"\n'
            f"{self.settings}\n"
        )
        give_to_postgres(self.config)

    def command(self, *arguments):
        return [*as_postgres(), self.program, "--config", self.config, *arguments]

    def begin(self):
        for path in (self.repository, self.state):
            shutil.rmtree(path, ignore_errors=True)
        self.key.unlink(missing_ok=True)
        self.secret = self.passphrase
        self.configure()
        measure.run(self.command("init"))
        measure.run(self.command("key", "add", "--machine", self.key, "--label", "bench"))
        self.secret = self.key
        self.configure()

    def forget_log(self):
        """Nothing of the log is archived, and nothing is known of it here."""
        self.begin()

    def backup(self, kind, *options):
        return measure.run(self.command("backup", "--json", "--type", kind, *options))

    def restore(self, to):
        return measure.run(self.command("restore", "shop", "--to", to, "--quiet"))

    def archive_command(self):
        return f"{self.program} --config {self.config} wal push %p"

    def restore_command(self, data):
        return f"{self.program} --config {self.config} wal fetch %f %p"

    def wait_for_loader(self):
        """Until no process loads segments ahead any more: it holds a lock while it does."""
        lock = self.state / "shop" / "prefetch.lock"
        if lock.exists():
            with open(lock) as file:
                fcntl.flock(file, fcntl.LOCK_EX)

    def version(self):
        return [self.program, "--version"]


class PgBackRest:
    """With the settings that make it fast: bundles, no waiting for the checkpoint, two processes, the log in the background
    with a queue of a gigabyte."""

    name = "pgbackrest"

    def __init__(self, shop, repository=None):
        """`repository` is the text of its options, when it is no directory."""
        self.shop, self.repository = shop, shop.directory / "pgbackrest-repo"
        self.remote = repository is not None
        self.spool = shop.directory / "spool"
        set_up(shop.directory / "lock")
        set_up(self.spool)
        self.config = shop.directory / "pgbackrest.conf"
        self.config.write_text(
            f"[global]\n{repository or f'repo1-path={self.repository}'}\nrepo1-bundle=y\nrepo1-retention-full=9\n"
            f"compress-type=zst\ncompress-level=3\nprocess-max={WORKERS}\nstart-fast=y\n"
            f"lock-path={shop.directory}/lock\nspool-path={self.spool}\n"
            f"log-level-console=warn\nlog-level-file=off\narchive-get-queue-max=1GiB\n"
            f"[shop]\npg1-path={shop.data}\npg1-port={shop.port}\npg1-socket-path={shop.directory}\npg1-user=postgres\n"
        )
        self.archive = f'exec pgbackrest --config={self.config} --stanza=shop archive-push "$1"'

    def command(self, *arguments):
        return [*as_postgres(), "pgbackrest", f"--config={self.config}", "--stanza=shop", *arguments]

    def begin(self):
        if not self.remote:
            set_up(self.repository)
        measure.run(self.command("stanza-create"))

    def forget_log(self):
        """Nothing of the log is archived, and nothing is known of it here."""
        set_up(self.spool)
        self.begin()

    def backup(self, kind, *options):
        return measure.run(self.command(f"--type={kind}", *options, "backup"))

    def restore(self, to):
        return measure.run(self.command(f"--pg1-path={to}", "restore"))

    def archive_command(self):
        return f"pgbackrest --config={self.config} --stanza=shop --archive-async archive-push %p"

    def restore_command(self, data):
        return f"pgbackrest --config={self.config} --stanza=shop --archive-async --pg1-path={data} archive-get %f %p"

    def wait_for_loader(self):
        """Until no process loads segments ahead any more: its lock is a file that is there while it does."""
        deadline = time.monotonic() + 60
        while list((self.shop.directory / "lock").glob("*.lock")) and time.monotonic() < deadline:
            time.sleep(0.1)

    def version(self):
        return ["pgbackrest", "version"]


class Barman:
    """On the database's own host with rsync, two jobs, hard links for what didn't change: its fastest way. Doesn't compress."""

    name = "barman"

    def __init__(self, shop):
        self.shop, self.repository = shop, shop.directory / "barman"
        self.config = shop.directory / "barman.conf"
        self.config.write_text(
            f"[barman]\nbarman_home = {self.repository}\nbarman_user = postgres\nlog_file = {shop.directory}/barman.log\n"
            f"barman_lock_directory = {shop.directory}\nlog_level = WARNING\n"
            f"[shop]\ndescription = shop\nbackup_method = local-rsync\nparallel_jobs = {WORKERS}\narchiver = on\n"
            f"immediate_checkpoint = true\nconninfo = host={shop.directory} port={shop.port} user=postgres dbname=postgres\n"
            f"path_prefix = {shop.programs}\n"
        )
        self.archive = f'exec cp "$1" {self.repository}/shop/incoming/'

    def command(self, *arguments):
        return [*as_postgres(), "barman", "-q", "-c", self.config, *arguments]

    def begin(self):
        """The first segment must have come before it takes a backup."""
        set_up(self.repository)
        subprocess.run([str(word) for word in self.command("check", "shop")], capture_output=True, check=False)
        (self.repository / "shop" / "incoming").mkdir(parents=True, exist_ok=True)
        for path in (self.repository / "shop", self.repository / "shop" / "incoming"):
            give_to_postgres(path)
        self.shop.archive_also_with(self.archive)
        self.shop.query("select pg_switch_wal()")
        self.shop.settle()
        measure.run(self.command("archive-wal", "shop"))

    def backup(self, kind, *options):
        reuse = "off" if kind == "full" else "link"
        return measure.run(self.command("backup", "--wait", f"--reuse-backup={reuse}", *options, "shop"))

    def restore(self, to):
        return measure.run(self.command("recover", "-j", str(WORKERS), "shop", "latest", to))

    def version(self):
        return ["barman", "--version"]
