"""Plans for clusters that are not there: priced, compared, drawn as a time line."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import CONFIGURATION, NO_PLAN, SOURCE, USAGE, RunTest

CLUSTERS = SOURCE / "configs" / "clusters"


def cbc(file):
    """Optimum as the program of that name finds it."""
    answer = file.with_suffix(".cbc")
    subprocess.run(["cbc", file, "solve", "solution", answer], check=True, timeout=120,
                   stdout=subprocess.DEVNULL)
    return float(re.search(r"Optimal - objective value (\S+)", answer.read_text()).group(1))

def glpsol(file):
    answer = file.with_suffix(".glpk")
    subprocess.run(["glpsol", "--freemps", file, "-w", answer], check=True, timeout=120,
                   stdout=subprocess.DEVNULL)
    return float(re.search(r"^s mip \d+ \d+ o (\S+)", answer.read_text(), re.M).group(1))


class Planning(RunTest):
    def plan(self, name, *arguments, **options):
        cluster = CLUSTERS / f"{name}.yaml"
        return self.command(str(self.small), "training.precision=fp32", "--cluster", str(cluster), f"output={self.folder}/plan",
                            *arguments, **options)

    def test_one_process_plans_for_many_devices(self):
        result = self.plan("p3.16xlarge-8")
        self.says(result.out, "8 x v100-16gb on 1 host", "predicted:")
        plan = (self.folder / "plan" / "plan.yaml").read_text()
        self.says(plan, "devices: 8", "step_time:", "bubble:", "communication_bytes:")

    def test_the_same_plan_has_the_same_bytes(self):
        self.plan("p3.16xlarge-8", "--compare")
        first = (self.folder / "plan" / "plan.yaml").read_text()
        self.plan("p3.16xlarge-8", "--compare")
        self.assertEqual(first, (self.folder / "plan" / "plan.yaml").read_text())

    def test_methods_side_by_side(self):
        result = self.plan("p3.16xlarge-8", "--compare")
        for method in ("data", "zero1", "zero2", "zero3", "megatron", "intra_only", "heuristic"):
            self.says(result.out, f"\n{method} ")
        self.says(result.out, "8 stages need as many layers, the model has 4")
        plan = (self.folder / "plan" / "plan.yaml").read_text()
        self.says(plan, "compared:", "method: pipedream")

    def test_a_method_that_does_not_fit_says_by_how_much(self):
        result = self.plan("p3.16xlarge-8", "--compare", "parallel.memory_limit=150KiB",
                           "parallel.method=zero3", "parallel.microbatches=1")
        rows = {line.split()[0]: line.split() for line in result.out.splitlines() if line.split()}
        self.assertEqual(rows["data"][1:3], ["1", "-"])
        self.assertIn(rows["data"][-1], ("B", "KiB", "MiB"))
        self.plan("p3.16xlarge-8", "parallel.memory_limit=10KiB", expect=NO_PLAN)

    def test_the_fewest_microbatches_that_fit_are_taken(self):
        result = self.plan("p3.16xlarge-4", "--compare", "parallel.memory_limit=120KiB",
                           "parallel.method=zero3")
        rows = {line.split()[0]: line.split() for line in result.out.splitlines() if line.split()}
        self.assertGreater(int(rows["zero3"][1]), 1)
        self.assertNotEqual(rows["zero3"][2], "-")
        plan = (self.folder / "plan" / "plan.yaml").read_text()
        self.says(plan, f"\nmicrobatches: {rows['zero3'][1]}\n", "name: \"1f1b\"")

    def test_why_not_shows_what_a_plan_with_it_takes(self):
        base = ("p3.16xlarge-4", "parallel.method=auto")
        alone = {setting: re.search(r"predicted: (\S+ \S+) a step", self.plan(*base, *setting).out).group(1)
                 for setting in ((), ("parallel.microbatches=4",), ("parallel.method=zero3",))}
        for setting in list(alone)[1:]:
            result = self.plan(*base, "--plan-only", "--why-not", setting[0])
            self.says(result.out, f"why not {setting[0]}?", f"{alone[setting]} a step instead of {alone[()]}",
                      "longer, most of it in", "collectives", "pipeline: waiting", "stash")
            row = re.search(r"\nstep time +(\S+ \S+)  +(\S+ \S+)  +\+\S", result.out)
            self.assertEqual(row.groups(), (alone[()], alone[setting]))
            self.assertIn("microbatches: 1\n", (self.folder / "plan" / "plan.yaml").read_text())

    def test_why_not_says_what_cannot_be(self):
        base = ("p3.16xlarge-4", "parallel.method=auto")
        result = self.plan(*base, "parallel.logical_mesh=[4]", "--why-not", "parallel.memory_limit=10KiB",
                           "--why-not", "parallel.stages=2", "--why-not", "parallel.microbatches=3",
                           "--why-not", "parallel.layouts={layers.0.feed_forward.in: f@1}; parallel.stages=1")
        self.says(result.out, "No plan with it fits: rank", "too little", "8 ranks, found 4",
                  "found 3, expected a divisor of global_batch = 8",
                  "parallel.logical_mesh=[4] and", "the mesh has no axis 1")
        for setting, parts in (("parallel.microbatchs=4", ["did you mean parallel.microbatches?"]),
                               ("model.layers=2", ["a setting of parallel"]),
                               ("parallel.method=plan", ["a method that makes a plan"]),
                               (" ; ", ["parallel.key=value"])):
            with self.subTest(setting=setting):
                self.says(self.plan(*base, "--why-not", setting, expect=USAGE).err, "--why-not", *parts)

    def test_why_not_before_training(self):
        result = self.run_program("run", "--why-not", "parallel.method=zero3", ranks=2)
        self.says(result.out, "why not parallel.method=zero3?", "chosen", "zero3", "step 8/8")

    def test_other_solvers_find_what_the_search_claims(self):
        out = self.folder / "ilp"
        self.plan("p3.16xlarge-4", "parallel.method=auto", "parallel.memory_limit=150KiB",
                  "--export-ilp", str(out))
        rows = [line.split("\t") for line in (out / "index.tsv").read_text().splitlines()]
        self.assertEqual(rows[0][0:2] + rows[0][4:7],
                         ["file", "nodes", "claimed_optimum", "lower_bound", "proof"])
        self.assertEqual({row[0] for row in rows[1:]}, {f.name for f in out.glob("*.mps")})
        rows = sorted((row for row in rows[1:] if row[6] == "optimal"), key=lambda row: int(row[3]))
        self.assertGreater(len(rows), 8)
        small = rows[:4] + [row for row in rows if 200 < int(row[3]) < 500][:4]
        solvers = [solver for solver in (cbc, glpsol) if shutil.which(solver.__name__)]
        if not solvers:
            self.skipTest("neither cbc nor glpsol is there")
        for row in small:
            for solver in solvers:
                with self.subTest(solver=solver.__name__, question=row[7]):
                    claimed = float(row[4])
                    self.assertAlmostEqual(solver(out / row[0]), claimed, delta=1e-6 * claimed)
        self.plan("p3.16xlarge-4", "parallel.method=auto", "--export-ilp", str(out), expect=73)

    def test_time_line(self):
        self.plan("p3.16xlarge-16", "--simulate", "parallel.method=megatron",
                  "parallel.pipeline=2", "parallel.data=8", "parallel.microbatches=1")
        events = json.loads((self.folder / "plan" / "trace.json").read_text())["traceEvents"]
        spans = [e for e in events if e["ph"] == "X"]
        self.assertEqual({e["pid"] for e in spans}, set(range(16)))
        self.assertEqual({e["cat"] for e in spans} >= {"forward", "backward", "update", "transfer"},
                         True)
        last = {}
        for event in sorted(spans, key=lambda e: (e["pid"], e["tid"], e["ts"])):
            key = event["pid"], event["tid"]
            self.assertGreaterEqual(event["ts"] + 1e-6, last.get(key, 0.0))
            last[key] = event["ts"] + event["dur"]

    def test_chunks_shorten_the_bubble(self):
        """Two chunks a stage halve it; a plan file says which, and is priced as the method is."""
        def figure(folder, name):
            return float(re.search(rf"  {name}: (\S+)", (folder / "plan.yaml").read_text()).group(1))

        given = ("parallel.method=pipedream", "parallel.microbatches=4", "model.layers=8")
        whole = self.folder / "plan"
        self.plan("p3.16xlarge-4", *given)
        bubble, time = figure(whole, "bubble"), figure(whole, "step_time")
        result = self.plan("p3.16xlarge-4", *given, "parallel.schedule=interleaved", "--explain")
        self.says(result.out, "schedule interleaved, 4 microbatches", "\n0         0,4 ", "\n3         3,7 ",
                  "the rest of its chunk decided again")
        self.assertLess(figure(whole, "bubble"), bubble)
        self.assertLess(figure(whole, "step_time"), time)
        first = (whole / "plan.yaml").read_text()
        self.says(first, "name: interleaved", "chunks: [[0, 0], [4, 4]]")
        file = self.folder / "interleaved.yaml"
        file.write_text(first)
        result = self.plan("p3.16xlarge-4", "model.layers=8", "--plan", str(file), "--simulate")
        self.says(result.out, "schedule interleaved", "simulated:")
        file.write_text(first.replace("chunks: [[0, 0], [4, 4]]", "chunks: [[0, 0], [5, 5]]"))
        result = self.plan("p3.16xlarge-4", "model.layers=8", "--plan", str(file), expect=CONFIGURATION)
        self.says(result.err, "stages[0].chunks: found layers 5 to 5", "starts at 4")

    def test_what_has_no_time_line_is_refused(self):
        result = self.plan("axis4", "--simulate", "parallel.stages=1", "parallel.logical_mesh=[4]",
                           expect=USAGE)
        self.says(result.err, "mesh_axes")


class Experts(RunTest):
    def test_slow_links_split_experts_and_send_tokens(self):
        """Where gradients are dear to send, each rank holds some of the experts."""
        for ranks in (4, 8):
            result = self.command(str(SOURCE / "configs/moe.yaml"), "--cluster",
                                  str(CLUSTERS / f"slow-links-{ranks}.yaml"),
                                  f"output={self.folder}/plan{ranks}", timeout=300)
            plan = (self.folder / f"plan{ranks}" / "plan.yaml").read_text()
            self.assertRegex(plan, r'experts: "split over axis \d \(\d\)"')
            self.says(plan, "all_to_all")
            self.says(result.out, "experts", "all_to_all")

    def test_a_microbatch_holds_whole_groups(self):
        """64 microbatches of 2 samples are groups of 128 tokens; 128 of one sample would cut them."""
        moe = str(SOURCE / "configs/moe.yaml")
        cluster = ("--cluster", str(CLUSTERS / "laptop-cpu-4.yaml"), f"output={self.folder}/plan")
        for keys in ("parallel.microbatches=128", "training.global_batch=31", "model.moe.group=96"):
            result = self.command(moe, *cluster, keys, expect=CONFIGURATION)
            self.says(result.err, keys.split("=")[0], keys.split("=")[1])
        self.command(moe, *cluster, "parallel.microbatches=64", "parallel.method=pipedream")


def stages_of(plan):
    """Per stage of a plan.yaml: its ranks, FLOPs, bytes sent and memory, as numbers."""
    stages, section = [], None
    for line in plan.read_text().splitlines():
        key, _, value = line.strip().removeprefix("- ").partition(": ")
        if line.startswith("  - chunks: "):
            stages.append({"communication": {}, "memory": {}})
        elif stages and line.startswith("    ") and not line.startswith("     "):
            section = key.rstrip(":")
            if section == "ranks":
                stages[-1]["ranks"] = json.loads(value)
            elif section == "flops":
                stages[-1]["flops"] = float(value)
        elif stages and section in ("communication", "memory") and line.startswith("      "):
            stages[-1][section][key] = float(value)
    return stages


class Executed(RunTest):
    """What ran is what the plan said: exit.yaml against plan.yaml."""

    def test_figures_of_the_plan(self):
        for method in ("data", "zero1", "zero2", "zero3", "pipedream", "heuristic",
                       "megatron parallel.data=2 parallel.tensor=2",
                       "megatron parallel.tensor=2 parallel.pipeline=2",
                       "megatron parallel.tensor=2 parallel.pipeline=2 parallel.schedule=interleaved",
                       "pipedream parallel.microbatches=4 parallel.schedule=zero_bubble"):
            with self.subTest(method=method):
                run = method.replace(" ", "-")
                self.run_program(run, *f"parallel.method={method}".split(), ranks=4)
                stages = stages_of(self.folder / run / "plan.yaml")
                records = harness.rank_records(self.folder / run)
                self.assertEqual(len(records), 4)
                for stage in stages:
                    record = records[stage["ranks"][-1]]
                    self.assertEqual(record["steps"], 8)
                    self.assertAlmostEqual(record["flops"], 8 * stage["flops"],
                                           delta=1e-9 * record["flops"])
                    sent = {k: v for k, v in stage["communication"].items() if k != "bytes"}
                    self.assertEqual(set(sent), set(record["bytes_sent"]))
                    for kind, value in sent.items():
                        self.assertAlmostEqual(record["bytes_sent"][kind], 8 * value,
                                               delta=1e-9 * value + 1)
                    for name in ("parameters", "gradients", "optimizer", "stash", "transient",
                                 "buffers"):
                        self.assertEqual(stage["memory"][name], record["memory"][name])


if __name__ == "__main__":
    harness.main()
