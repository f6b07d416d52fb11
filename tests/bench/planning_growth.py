#!/usr/bin/env python3
"""Time and memory of planning as layers, devices and operators grow.

    python3 tests/bench/planning_growth.py BUILD [--out docs/planning-growth]

Plans GPT-350M with ever more layers for 8 V100, and GPT-6.7B for ever more H100, each in a process of its own
(`plan_suite`), and writes OUT.tsv and OUT.svg (both axes logarithmic). Rows that stand in OUT.tsv are not made again.
"""
import argparse
import math
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYERS = (12, 24, 48, 96, 192, 384, 1024)
DEVICES = (8, 16, 32, 64, 128, 256, 512)
WIDTH, HEIGHT, MARGIN = 300, 220, 46


def plan(build, config, cluster, *settings):
    """Layers, operators, seconds and MiB of one search."""
    text = subprocess.run([build / "bench" / "plan_suite", ROOT / "configs" / config, ROOT / "configs/clusters" / cluster,
                           *settings], check=True, capture_output=True, text=True).stdout
    operators, layers = re.search(r"graph +(\d+) operators, (\d+) layers", text).groups()
    seconds, mebibytes = re.search(r"auto +([\d.]+) s, .*?, (\d+) MiB", text).groups()
    return layers, operators, seconds, mebibytes


def measure(build, table):
    rows = {}
    if table.exists():
        for line in table.read_text().splitlines()[1:]:
            cells = line.split("\t")
            rows[cells[0], cells[1]] = cells
    wanted = [("layers", str(n)) for n in LAYERS] + [("devices", str(n)) for n in DEVICES]
    for kind, n in wanted:
        if (kind, n) in rows:
            continue
        if kind == "layers":
            figures = plan(build, "gpt/gpt-350m.yaml", "p3.16xlarge-8.yaml", f"model.layers={n}")
            devices = "8"
        else:
            figures = plan(build, "gpt/gpt-6.7b.yaml", f"dgx-h100-{n}.yaml")
            devices = n
        rows[kind, n] = [kind, n, devices, *figures]
        head = "sweep\tvalue\tdevices\tlayers\toperators\tseconds\tMiB"
        table.write_text("\n".join([head] + ["\t".join(rows[key]) for key in wanted if key in rows]) + "\n")
        print(*rows[kind, n], flush=True)
    return list(rows.values())


def panel(left, points, name, title):
    """One diagram: seconds (line) and GiB (dashed) over `points` (value, seconds, GiB)."""
    xs = [math.log2(x) for x, _, _ in points]
    ys = [math.log10(y) for _, *both in points for y in both]
    low, high = math.floor(min(ys)), math.ceil(max(ys))
    span = max(xs) - min(xs) or 1.0

    def place(x, y):
        return (left + MARGIN + (x - min(xs)) / span * (WIDTH - 60),
                HEIGHT - MARGIN - (y - low) / (high - low) * (HEIGHT - 80))

    out = [f'<text x="{left + WIDTH / 2}" y="18" text-anchor="middle">{title}</text>',
           f'<text x="{left + WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{name}</text>']
    for power in range(low, high + 1):
        x, y = place(min(xs), power)
        out.append(f'<line x1="{x}" y1="{y}" x2="{x + WIDTH - 60}" y2="{y}" stroke="#ccc"/>')
        out.append(f'<text x="{x - 5}" y="{y + 4}" text-anchor="end">{10.0 ** power:g}</text>')
    for x in xs:
        out.append(f'<text x="{place(x, low)[0]}" y="{HEIGHT - 28}" text-anchor="middle">{2 ** x:.0f}</text>')
    for k, style in ((1, 'stroke="#1f5fa8"'), (2, 'stroke="#b5541c" stroke-dasharray="5 3"')):
        line = " ".join("%.1f,%.1f" % place(x, math.log10(p[k])) for x, p in zip(xs, points))
        out.append(f'<polyline points="{line}" fill="none" stroke-width="2" {style}/>')
    return out


def draw(rows):
    def points(kind, column):
        return sorted((float(r[column]), float(r[5]), float(r[6]) / 1024) for r in rows if r[0] == kind)

    parts = panel(0, points("layers", 3), "layers", "GPT-350M, 8 V100")
    parts += panel(WIDTH, points("layers", 4), "operators", "GPT-350M, 8 V100")
    parts += panel(2 * WIDTH, points("devices", 2), "devices", "GPT-6.7B, H100")
    parts.append(f'<text x="{3 * WIDTH - 10}" y="{HEIGHT + 14}" text-anchor="end">line: seconds; dashed: GiB</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{3 * WIDTH}" height="{HEIGHT + 20}" '
            'font-family="sans-serif" font-size="10">\n<rect width="100%" height="100%" fill="white"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "planning-growth")
    arguments = parser.parse_args()
    rows = measure(arguments.build.resolve(), arguments.out.with_suffix(".tsv"))
    arguments.out.with_suffix(".svg").write_text(draw(rows))


if __name__ == "__main__":
    main()
