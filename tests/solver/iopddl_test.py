"""Runs build/bench/iopddl and re-scores what it prints, in code of its own.

iopddl_test.py PROGRAM                          its messages, exit codes and a small instance
iopddl_test.py PROGRAM FILE.json.gz SECONDS BEST  an instance: at most the best known cost, rounded
                                                  to six digits, and a gap of at most 1 %
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def fields(text):
    result = {}
    for line in text.splitlines():
        key, value = line.split(": ", 1)
        result[key] = value
    return result


def rescore(problem, choice):
    nodes, edges = problem["nodes"], problem["edges"]
    assert len(choice) == len(nodes["costs"])
    cost = sum(costs[p] for costs, p in zip(nodes["costs"], choice))
    for ends, costs in zip(edges["nodes"], edges["costs"]):
        index = 0
        for end in ends:
            index = index * len(nodes["costs"][end]) + choice[end]
        cost += costs[index]
    changes = {}
    for (begin, end), usage, p in zip(nodes["intervals"], nodes["usages"], choice):
        if begin < end:
            changes[begin] = changes.get(begin, 0) + usage[p]
            changes[end] = changes.get(end, 0) - usage[p]
    now = peak = 0
    for time in sorted(changes):
        now += changes[time]
        peak = max(peak, now)
    return cost, peak


def check_answer(problem, text):
    found = fields(text)
    assert set(found) == {"cost", "bound", "gap", "nodes", "seconds", "solution"}, found.keys()
    cost, peak = rescore(problem, json.loads(found["solution"]))
    assert cost == int(found["cost"]), (cost, found["cost"])
    assert peak <= problem["usage_limit"], (peak, problem["usage_limit"])
    bound = int(found["bound"])
    assert bound <= cost
    assert abs(float(found["gap"]) - (cost - bound) / max(cost, 1)) < 1e-5
    return cost


SMALL = {
    "nodes": {
        "costs": [[15, 55, 65], [45, 75], [85]],
        "intervals": [[10, 30], [20, 40], [30, 50]],
        "usages": [[10, 25, 25], [40, 15], [5]],
    },
    "edges": {
        "nodes": [[0, 1], [1, 2], [0, 1, 2]],
        "costs": [[30, 40, 50, 10, 50, 20], [60, 70], [0, 5, 10**18, 0, 0, 0]],
    },
    "usage_limit": 50,
}


def check_program(program):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "small.json.gz")
        with gzip.open(path, "wt") as file:
            json.dump({"problem": SMALL}, file)
        code, out, err = run(program, path, 5)
        assert code == 0, err
        assert check_answer(SMALL, out) == 15 + 45 + 85 + 30 + 60, out
        assert fields(out)["gap"] == "0.000000" and fields(out)["nodes"] == "3 -> 0", out

        tight = {**SMALL, "usage_limit": 5}
        plain = os.path.join(folder, "tight.json")
        with open(plain, "w") as file:
            json.dump(tight, file)
        code, out, _ = run(program, plain, 5)
        assert code == 69 and out.startswith("infeasible"), (code, out)

        with open(plain, "w") as file:
            file.write('{"nodes": {"costs": [[1')
        assert run(program, plain, 5)[0] == 65
        with open(path, "rb") as file:
            packed = file.read()
        with open(path, "wb") as file:
            file.write(packed[: len(packed) // 2])
        assert run(program, path, 5)[0] == 65
        code, _, err = run(program, os.path.join(folder, "none.json"), 5)
        assert code == 66 and "none.json" in err, (code, err)
    for wrong in ([], ["x.json"], ["x.json", "0"], ["x.json", "1s"], ["x.json", "nan"]):
        assert run(program, *wrong)[0] == 64, wrong


def main():
    program = sys.argv[1]
    if len(sys.argv) == 2:
        check_program(program)
        return
    path, seconds, best = sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    if not os.path.exists(path):
        print("skipped: no", path)
        sys.exit(77)
    code, out, err = run(program, path, seconds)
    assert code == 0, (code, out, err)
    with gzip.open(path) as file:
        cost = check_answer(json.load(file)["problem"], out)
    print("cost", cost, "best known", best, "bound", fields(out)["bound"])
    assert cost <= (1 + 1e-5) * best
    assert float(fields(out)["gap"]) <= 0.01


main()
