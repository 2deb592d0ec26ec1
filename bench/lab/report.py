"""What a race gave: every single figure as JSON, and a table of medians and spread made of them."""

import json
import os
import statistics
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from lab import machine
from lab.shop import SEED

HERE = Path(__file__).resolve().parent.parent
# Where things lie on the machine says nothing about what was measured.
PATHS = ("lifeboat", "directory", "programs", "keep_results")


class Report:
    """One race's results, written anew after each round: what was measured is kept whatever comes after."""

    def __init__(self, race, options, shop, tools, **facts):
        programs = {tool.name: tool.version() for tool in tools} | {"postgres": [shop.programs / "postgres", "--version"]}
        self.facts = {
            **machine.facts(shop.directory),
            "versions": machine.versions(programs),
            "commit": _commit(),
            "seed": SEED,
            **{name: value if isinstance(value, (int, float)) else str(value) for name, value in vars(options).items() if name not in PATHS},
            **facts,
        }
        # `more` is long, and only for the raw results.
        self.runs, self.limits, self.more = [], {}, {}
        self.stem = Path(options.keep_results) / f"{race}-{datetime.now(timezone.utc):%Y-%m-%dT%H%M}"
        print(json.dumps(self.facts, indent=2), flush=True)

    def note(self, number, what, tool, seconds, **more):
        """One figure. `more` is whatever else was seen."""
        self.runs.append({"round": number, "what": what, "tool": tool, "seconds": seconds, **more})
        extra = "".join(f", {name} {_shown(value)}" for name, value in more.items() if isinstance(value, (int, float)))
        print(f"  {what:34} {tool:16} {seconds:8.2f} s{extra}", flush=True)

    def limit(self, what, limits):
        """The physical limits that belong to a figure."""
        self.limits[what] = limits
        shown = ", ".join(f"{name} {_shown(value)}" for name, value in limits.items())
        print(f"  limits of {what}: {shown}", flush=True)

    def table(self):
        """For each thing that was measured: median, least and most; and how many times as fast as each peer."""
        groups = {}
        for run in self.runs:
            groups.setdefault((run["what"], run["tool"]), []).append(run)
        names = [name for run in self.runs for name, value in run.items() if isinstance(value, (int, float))]
        names = [name for name in dict.fromkeys(names) if name not in ("round", "seconds")]
        lines = [f"| | | seconds: median (least – most) | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
        for (what, tool), runs in groups.items():
            seconds = [run["seconds"] for run in runs]
            cells = [_middle([run[name] for run in runs if name in run]) for name in names]
            spread = f"{statistics.median(seconds):.3g} ({min(seconds):.3g} – {max(seconds):.3g})"
            lines.append(f"| {what} | {tool} | {spread} | {' | '.join(cells)} |")
        for what, limits in self.limits.items():
            shown = ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in limits.items())
            lines.append(f"\nLimits of {what}: {shown}")
        return "\n".join(lines)

    def keep(self):
        """Writes what there is so far, and returns the table."""
        self.facts["load_after"] = os.getloadavg()
        raw = json.dumps({"facts": self.facts, "limits": self.limits, "runs": self.runs, **self.more}, indent=1)
        self.stem.parent.mkdir(parents=True, exist_ok=True)
        self.stem.with_suffix(".json").write_text(raw + "\n")
        text = f"```json\n{json.dumps(self.facts, indent=2)}\n```\n\n{self.table()}\n"
        self.stem.with_suffix(".md").write_text(text)
        return self.table()

    def end(self):
        """The last word."""
        print(self.keep())
        print(f"raw figures: {self.stem}.json", file=sys.stderr)


def options(parser, directory, rounds=3):
    """What every race can be told."""
    parser.add_argument("--lifeboat", default=HERE.parent / "target/release/lifeboat", help="the program to race")
    parser.add_argument("--directory", default=f"/var/tmp/lifeboat-bench/{directory}", help="on the disk to race on")
    parser.add_argument("--programs", default="/usr/lib/postgresql/15/bin", help="PostgreSQL's programs")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--keep-results", default=HERE / "results", help="directory for the raw figures")
    return parser


def _commit():
    command = ["git", "-C", HERE, "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _shown(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _middle(values):
    return _shown(statistics.median(values)) if values else ""
