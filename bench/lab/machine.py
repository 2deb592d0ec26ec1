"""The facts without which a figure means nothing: machine, versions, date."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path


def facts(directory):
    """Of this machine; `directory` is on the disk that is raced on."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _line("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": _line("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "file_system": _said(["findmnt", "-no", "FSTYPE,OPTIONS", "--target", str(directory)]),
        "load_before": os.getloadavg(),
    }


def versions(programs):
    """What each program says of itself, by name."""
    return {name: _said(arguments) for name, arguments in programs.items()}


def _line(path, key):
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return ""


def _said(arguments):
    try:
        return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown: {error}"
