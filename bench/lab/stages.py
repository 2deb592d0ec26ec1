"""Where the CPU time of one run goes, by the function that was running when the clock ticked (`perf`, if it is there)."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

TICKS_PER_SECOND = 997

# The first that fits. `[k]` marks the kernel in perf's listing.
STAGES = [
    ("zstd", r"\[\.\] (ZSTD|HUF|FSE|HIST|BIT|XXH)"),
    ("BLAKE3 (fingerprints, chunk ids, names)", r"\[\.\] .*blake3"),
    ("page checksums", r"\[\.\] .*(pulp|check_page|page_check|page::)"),
    ("AES-256-GCM", r"\[\.\] .*(aes|gcm)"),
    ("Argon2id (the passphrase)", r"\[\.\] .*(argon2|blake2)"),
    ("copying in memory", r"\[\.\] .*(memmove|memcpy|memset)"),
    ("reading from the page cache", r"\[k\] .*(copy_to_iter|filemap|copy_page_to_iter|folio_mark|workingset|xas_)"),
    ("new memory", r"\[k\] .*(clear_page|fault|alloc_pages|lru|unmap|mmap|zap)"),
    ("kernel: writing, syncing, scheduling", r"\[k\]"),
    ("everything else of ours", r"."),
]


def available():
    """Whether perf can be used."""
    return shutil.which("perf") is not None


def of(command, directory):
    """Runs `command`; CPU seconds by stage, the largest first."""
    record = Path(directory) / "perf.data"
    sample = ["perf", "record", "-q", "-e", "cpu-clock", "-F", TICKS_PER_SECOND, "-o", record, "--", *command]
    subprocess.run(list(map(str, sample)), check=True, cwd="/", capture_output=True)
    listing = subprocess.run(
        ["perf", "report", "-i", str(record), "--stdio", "-n", "--sort", "symbol", "-g", "none"],
        check=True, capture_output=True, text=True,
    ).stdout
    record.unlink()
    ticks = Counter()
    for line in listing.splitlines():
        found = re.match(r"\s*[\d.]+%\s+(\d+)\s+(\[.\] .*)", line)
        if found:
            stage = next(name for name, pattern in STAGES if re.match(pattern, found[2]))
            ticks[stage] += int(found[1])
    return {stage: count / TICKS_PER_SECOND for stage, count in ticks.most_common()}
