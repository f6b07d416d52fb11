#!/usr/bin/env python3
"""Predicted and measured step times of twelve plans on 1, 2 and 4 ranks of this host.

predict_steps.py BUILD [--repeats N] [--prefix COMMAND]: runs BUILD/bench/step_kernels for each plan (probe, price, 8 steps)
under mpirun, N times in turn (default 3), and prints the medians, the median error, and which
of the pairs of plans of one model that were measured more than 20 % apart are predicted in the
right order. On a busy host --prefix "chrt -f 10" keeps others off
the cores, if one may. Ends with 1 if the median error is above 20 % or a pair is in the wrong order.
"""
import argparse
import itertools
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MLP = ("mlp", "configs/mlp.yaml", [])
GPT = ("gpt", "configs/quickstart.yaml", ["parallel.pipeline=auto", "parallel.tensor=auto"])
PLANS = [  # model, ranks, method and degrees
    (MLP, 1, "method=data"),
    (MLP, 2, "method=data"),
    (MLP, 2, "method=zero1"),
    (MLP, 2, "method=zero3"),
    (MLP, 2, "method=megatron tensor=2 pipeline=1"),
    (MLP, 2, "method=pipedream microbatches=8"),
    (GPT, 1, "method=data"),
    (GPT, 2, "method=data"),
    (GPT, 2, "method=zero3 microbatches=4"),
    (GPT, 2, "method=megatron tensor=2 pipeline=1"),
    (GPT, 2, "method=megatron tensor=1 pipeline=2"),
    (GPT, 4, "method=megatron tensor=1 pipeline=2"),
]
LINE = re.compile(r"step: measured ([\d.]+) ms, predicted ([\d.]+) ms")


def run(build, prefix, plan):
    """Measured and predicted milliseconds of a plan."""
    (_, config, settings), ranks, method = plan
    arguments = settings + ["parallel." + word for word in method.split()]
    environment = dict(
        os.environ,
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
        OMPI_MCA_rmaps_base_oversubscribe="1",
        OMPI_MCA_hwloc_base_binding_policy="none",
        OMPI_MCA_mpi_yield_when_idle="1",
        OMP_NUM_THREADS="1",
    )
    command = prefix + ["mpirun", "-np", str(ranks), str(build / "bench/step_kernels"), config] + arguments
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    found = LINE.search(done.stdout)
    if not found:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return float(found[1]), float(found[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prefix", type=shlex.split, default=[])
    given = parser.parse_args()
    build = given.build.resolve()
    samples = [[] for _ in PLANS]
    for _ in range(given.repeats):
        for i, plan in enumerate(PLANS):
            samples[i].append(run(build, given.prefix, plan))
    rows = []
    print(f"{'model':5} {'ranks':>5} {'measured':>11} {'predicted':>11} {'error':>7}  plan")
    for (model, ranks, method), found in zip(PLANS, samples):
        measured = statistics.median(m for m, _ in found)
        predicted = statistics.median(p for _, p in found)
        rows.append((model[0], method, measured, predicted))
        error = predicted / measured - 1
        print(
            f"{model[0]:5} {ranks:5} {measured:8.1f} ms {predicted:8.1f} ms {error:+7.1%}  {method}"
        )
    error = statistics.median(abs(p / m - 1) for _, _, m, p in rows)
    print(f"median error {error:.1%}")
    wrong = 0
    far = 0
    for (name, a, m1, p1), (other, b, m2, p2) in itertools.combinations(rows, 2):
        if name != other or max(m1, m2) < 1.2 * min(m1, m2):
            continue
        far += 1
        if (m1 < m2) != (p1 < p2):
            wrong += 1
            print(f"wrong order: {name} {a} / {b}")
    print(f"pairs more than 20 % apart: {far}, in the wrong order: {wrong}")
    return 1 if error > 0.2 or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
