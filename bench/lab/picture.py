"""A picture of what was measured: lines over the size of the database, drawn as SVG without any library.

    python3 -m lab.picture RESULTS.json PICTURE.svg      of a race of `instant.py`, for each place a panel
"""

import json
import math
import re
import statistics
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 420, 300, 56, 40, 16, 44
# Told apart without colours too.
STYLES = {
    "lifeboat, instant": ("#0b6e4f", "", "circle"),
    "lifeboat, copying": ("#1d4e89", "6 3", "square"),
    "pgbackrest, copying": ("#b33f40", "2 3", "diamond"),
}
SECONDS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200)


def series(runs):
    """For each panel and tool, the median seconds at each size in gigabytes."""
    panels = {}
    for run in runs:
        named = re.fullmatch(r"first query, ([0-9.e+]+) GB(?:, ([0-9.]+) ms away)?, (\w+)", run["what"])
        if named:
            size, away, temperature = named.groups()
            panel = f"{away} ms away" if away else f"a directory, {temperature}"
            panels.setdefault(panel, {}).setdefault(run["tool"], {}).setdefault(float(size), []).append(run["seconds"])
    return panels


def mark(kind, x, y, colour):
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    turned = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "diamond" else ""
    return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{colour}"{turned}/>'


def panel(name, tools, sizes, at):
    """Both axes logarithmic: what is flat looks flat, and ten times is as far everywhere."""
    low, high = math.log(SECONDS[0] * 0.8), math.log(SECONDS[-1] * 1.2)
    first, last = math.log(min(sizes)) - 0.15, math.log(max(sizes)) + 0.15

    def x(size):
        return at + LEFT + (math.log(size) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(seconds):
        return TOP + (high - math.log(seconds)) / (high - low) * (HEIGHT - TOP - BOTTOM)

    out = [f'<text x="{at + LEFT}" y="{TOP - 16}" font-weight="bold">{name}</text>']
    for seconds in SECONDS:
        out.append(f'<line x1="{at + LEFT}" x2="{at + WIDTH - RIGHT}" y1="{y(seconds):.1f}" y2="{y(seconds):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{at + LEFT - 6}" y="{y(seconds) + 4:.1f}" text-anchor="end">{seconds:g} s</text>')
    for size in sizes:
        out.append(f'<text x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{size:g} GB</text>')
    for tool, points in tools.items():
        colour, dash, kind = STYLES[tool]
        middle = sorted((size, statistics.median(seconds)) for size, seconds in points.items())
        path = " ".join(f"{x(size):.1f},{y(seconds):.1f}" for size, seconds in middle)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        for size, seconds in points.items():
            spread = f'x1="{x(size):.1f}" x2="{x(size):.1f}" y1="{y(min(seconds)):.1f}" y2="{y(max(seconds)):.1f}"'
            out.append(f'<line {spread} stroke="{colour}"/>')
        out += [mark(kind, x(size), y(seconds), colour) for size, seconds in middle]
    return out


def picture(document):
    panels = series(document["runs"])
    sizes = sorted({size for tools in panels.values() for points in tools.values() for size in points})
    width = WIDTH * max(1, len(panels))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + 28}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{HEIGHT + 28}" fill="white"/>',
    ]
    for number, (name, tools) in enumerate(sorted(panels.items())):
        out += panel(name, tools, sizes, number * WIDTH)
    for number, (tool, (colour, dash, kind)) in enumerate(STYLES.items()):
        x, y = LEFT + number * 170, HEIGHT + 10
        out.append(f'<line x1="{x}" x2="{x + 28}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        out += [mark(kind, x + 14, y, colour), f'<text x="{x + 36}" y="{y + 4}">{tool}</text>']
    return "\n".join([*out, "</svg>"]) + "\n"


# Of `bars`: what stands left of the lines, and what a line is high.
NAMES_WIDTH, LINE_HEIGHT = 230, 26
PEER, OURS = "#b33f40", "#0b6e4f"


def bars(faults):
    """For each fault a panel, for each tool a line in it from its least to its most, and a mark at its median; `faults` has the seconds of
    each tool of each fault. The axis is logarithmic."""
    every = [second for tools in faults.values() for seconds in tools.values() for second in seconds]
    low, high = math.log(min(every) / 1.5), math.log(max(every) * 1.5)
    names = list(dict.fromkeys(tool for tools in faults.values() for tool in tools))
    height = TOP + len(names) * LINE_HEIGHT + BOTTOM
    width = NAMES_WIDTH + len(faults) * WIDTH * 2 // 3

    def x(seconds, panel):
        return NAMES_WIDTH + panel * WIDTH * 2 / 3 + (math.log(seconds) - low) / (high - low) * (WIDTH * 2 / 3 - RIGHT * 2)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, tool in enumerate(names):
        out.append(f'<text x="8" y="{TOP + number * LINE_HEIGHT + 17}">{tool}</text>')
    for panel, (fault, tools) in enumerate(faults.items()):
        out.append(f'<text x="{x(math.exp(low), panel):.1f}" y="{TOP - 16}" font-weight="bold">{fault}</text>')
        for seconds in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100):
            if low <= math.log(seconds) <= high:
                at = x(seconds, panel)
                out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - BOTTOM}" stroke="#ddd"/>')
                out.append(f'<text x="{at:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle" font-size="10">{seconds:g} s</text>')
        for tool, seconds in tools.items():
            y, colour = TOP + names.index(tool) * LINE_HEIGHT + 13, OURS if tool.startswith("Lifeboat") else PEER
            spread = f'x1="{x(min(seconds), panel):.1f}" x2="{x(max(seconds), panel):.1f}" y1="{y}" y2="{y}"'
            out.append(f'<line {spread} stroke="{colour}" stroke-width="2"/>')
            out.append(mark("circle" if colour == OURS else "square", x(statistics.median(seconds), panel), y, colour))
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(picture(json.loads(Path(sys.argv[1]).read_text())))
