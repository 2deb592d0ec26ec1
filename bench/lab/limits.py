"""What this machine can do at most with the same bytes: the physical limit beside a figure.

Each limit is one part of the work alone, done by a program that does nothing else, in the same run as the race: reading
from the page cache, compressing with two threads, sealing, writing around the page cache with a sync at the end.
"""

import re
import subprocess
import time
from pathlib import Path


def of_files(paths, scratch, workers=2):
    """Seconds for each part, of all these files one after the other."""
    paths = [Path(path) for path in paths]
    size = sum(path.stat().st_size for path in paths)
    compressed, seconds = _compress(paths, workers)
    sealing = _sealing_bytes_per_second()
    return {
        "bytes": size,
        "compressed_bytes": compressed,
        "read_seconds": _read(paths),
        "zstd_3_two_threads_seconds": seconds,
        "aes_256_gcm_one_thread_seconds": compressed / sealing,
        "write_compressed_seconds": _write(compressed, scratch),
        "write_plain_seconds": _write(size, scratch),
    }


def of_changes(before, after, scratch, page=8192):
    """What an incremental backup can't do without: the pages that differ between two states of a data directory, compressed
    as one stream by `zstd -3`."""
    changed = Path(scratch) / "changed-pages"
    with open(changed, "wb") as out:
        for path in files_below(after):
            old = Path(before) / path.relative_to(after)
            with open(path, "rb") as now, open(old if old.exists() else "/dev/null", "rb") as then:
                while new_part := now.read(1 << 20):
                    old_part = then.read(1 << 20)
                    if new_part != old_part:
                        for at in range(0, len(new_part), page):
                            if new_part[at : at + page] != old_part[at : at + page]:
                                out.write(new_part[at : at + page])
    size = changed.stat().st_size
    compressed, seconds = _compress([changed], 2)
    changed.unlink()
    return {"bytes": size, "compressed_bytes": compressed, "zstd_3_two_threads_seconds": seconds}


def files_below(directory):
    """All files below a directory, in order."""
    return [path for path in sorted(Path(directory).rglob("*")) if path.is_file() and not path.is_symlink()]


def _read(paths):
    started = time.monotonic()
    buffer = bytearray(1 << 20)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.monotonic() - started


def _compress(paths, workers):
    """Length of all when compressed as one stream, and how long it took, with what it takes to bring them there."""
    started = time.monotonic()
    reader = subprocess.Popen(["xargs", "-0", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process = subprocess.Popen(["zstd", "-3", "-q", f"-T{workers}", "-c"], stdin=reader.stdout, stdout=subprocess.PIPE)
    counter = subprocess.Popen(["wc", "-c"], stdin=process.stdout, stdout=subprocess.PIPE)
    for ours in (reader, process):
        ours.stdout.close()
    reader.stdin.write(b"\0".join(str(path).encode() for path in paths))
    reader.stdin.close()
    counted = int(counter.communicate()[0])
    for ours in (reader, process):
        if ours.wait() != 0:
            raise RuntimeError("the limit of compressing could not be measured")
    return counted, time.monotonic() - started


def _sealing_bytes_per_second():
    said = subprocess.run(
        ["openssl", "speed", "-seconds", "1", "-bytes", "262144", "-evp", "aes-256-gcm"],
        capture_output=True, text=True, check=True,
    ).stdout
    return float(re.search(r"AES-256-GCM\s+([\d.]+)k", said, re.IGNORECASE)[1]) * 1000


def _write(size, scratch, most=2 << 30):
    """At most two gigabytes are written; the time of more is reckoned from them."""
    written = max(1 << 20, min(size, most))
    path = Path(scratch) / "limit"
    started = time.monotonic()
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={written >> 20}", "oflag=direct", "conv=fsync"],
        check=True, capture_output=True,
    )
    seconds = time.monotonic() - started
    path.unlink()
    return seconds * size / written
