"""One row of the table of compare.sh: compare_table.py FOLDER MACHINE ROW."""
import json
import re
import statistics
import sys
from pathlib import Path


def of_exit_file(path):
    """FLOPs of a step over all ranks, and bytes of the parameters that they update."""
    text = path.read_text()
    steps = int(re.search(r"^step: (\d+)", text, re.M).group(1))
    flops = sum(float(x) for x in re.findall(r"^ +flops: ([\d.e+]+)", text, re.M)) / steps
    return flops, sum(int(x) for x in re.findall(r"parameters: (\d+)", text))


def milliseconds(median, least):
    return f"{1e3 * median:.0f} ({1e3 * least:.0f})"


def pytorch(folder, row, name):
    path = folder / f"{row}.{name}.json"
    text = path.read_text().strip() if path.exists() else ""
    return json.loads(text) if text.startswith("{") else None


def main():
    folder, machine, row = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    peak, stream = (1e9 * float(x) for x in re.search(r"fp32 ([\d.]+) .* stream ([\d.]+)", machine).groups())
    flops, parameters = of_exit_file(folder / row / "exit.yaml")
    floor = flops / peak + 7 * parameters / stream
    steps = [json.loads(line)["step_time"]
             for line in (folder / row / "metrics.jsonl").read_text().splitlines()][2:]
    ours = statistics.median(steps)
    packaged = pytorch(folder, row, "packaged")
    tuned = {name: found for name in ("eager", "compiled") if (found := pytorch(folder, row, name))}
    cells = [row, f"{1e3 * floor:.0f}"]
    cells.append(milliseconds(packaged["median"], packaged["least"]) if packaged else "skipped")
    if tuned:
        name = min(tuned, key=lambda each: tuned[each]["median"])
        best = tuned[name]
        cells.append(f"{milliseconds(best['median'], best['least'])} {name}")
    else:
        cells.append("skipped")
    cells.append(milliseconds(ours, min(steps)))
    cells.append(f"{ours / floor:.2f}")
    cells.append(f"{best['median'] / ours:.2f}" if tuned else "-")
    header = Path(folder / ".header")
    if not header.exists():
        header.touch()
        print("| row | floor | PyTorch packaged | PyTorch tuned | ours | ours / floor | PyTorch tuned / ours |")
        print("|---|---|---|---|---|---|---|")
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
