"""The database that members of a cluster begin with, the same for every tool: empty, durable, with page checksums."""

from lab.shop import give_to_postgres

PORT = 5432
# Nothing here makes a commit less durable. What is kept of the log lets a host that was away come back without a copy.
SETTINGS = {
    "listen_addresses": "*",
    "wal_log_hints": "on",
    "wal_keep_size": "512MB",
    "max_wal_size": "2GB",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "log_line_prefix": "%m [%p] ",
}
LEDGER = "create table ledger (client int, number int, primary key (client, number))"


def trusting(addresses):
    """Who may come in: everybody on the network, as it is no one else's."""
    return [
        "local all all trust", "host all all 127.0.0.1/32 trust", f"host all all {addresses} trust",
        "local replication all trust", f"host replication all {addresses} trust",
    ]


def lay(hosts, directories, programs, addresses):
    """The same new cluster for each host, the first as a primary, the others as standbys of it. None runs."""
    first = directories[0] / "data"
    for directory in directories:
        give_to_postgres(directory)
    hosts[0].run(
        programs / "initdb", "-D", first, "-U", "postgres", "-E", "UTF8", "--no-locale", "--data-checksums", "-A", "trust", user="postgres"
    )
    (first / "pg_hba.conf").write_text("\n".join(trusting(addresses)) + "\n")
    common = (first / "postgresql.conf").read_text() + "".join(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
    for directory in directories:
        data = directory / "data"
        if data != first:
            hosts[0].run("cp", "-a", first, data)
            (data / "standby.signal").touch()
            give_to_postgres(data / "standby.signal")
        (data / "postgresql.conf").write_text(f"{common}unix_socket_directories = '{directory}'\nport = {PORT}\n")
