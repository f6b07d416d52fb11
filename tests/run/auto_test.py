"""Plans that are searched for: they train, they last, and they are as good as they say."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import CONFIGURATION, NO_PLAN, SOURCE, RunTest, losses

CLUSTERS = SOURCE / "configs" / "clusters"
AUTO = harness.SMALL.replace("parallel: {method: data}", "parallel: {method: auto}")


def section(plan, name):
    """The numbers of one of plan.yaml's sections at the top, by key."""
    numbers, inside = {}, False
    for line in plan.read_text().splitlines():
        if not line.startswith(" "):
            inside = line == f"{name}:"
        elif inside:
            key, _, value = line.strip().partition(": ")
            try:
                numbers[key] = float(value)
            except ValueError:
                numbers[key] = value
    return numbers


class AutoTest(RunTest):
    config = AUTO

    def plan_file(self, run):
        return self.folder / run / "plan.yaml"


class Training(AutoTest):
    def test_1_to_4_ranks_have_the_losses_of_one(self):
        expected = None
        for ranks in (1, 2, 3, 4):
            run = f"run{ranks}"
            result = self.run_program(run, ranks=ranks, timeout=150)
            self.says(result.out, f"plan: auto, {ranks} rank", "predicted: ", "search: no plan",
                      "\ndata ", "\nzero2 ", "\nmegatron ", "\nauto ", "predicted ", "measured ")
            expected = expected or losses(self.folder / run)
            self.assert_close(losses(self.folder / run), expected, 1e-9, f"{ranks} ranks")
            search = section(self.plan_file(run), "search")
            predicted = section(self.plan_file(run), "predicted")
            self.assertEqual(search["objective"], predicted["step_time"])
            self.assertLessEqual(search["lower_bound"], search["objective"])
            self.assertAlmostEqual(search["gap"], 1 - search["lower_bound"] / search["objective"],
                                   delta=1e-12)
            for line in harness.metrics(self.folder / run):
                self.assertEqual(line["predicted_step_time"], predicted["step_time"])
            self.assertTrue((self.folder / run / "profile.yaml").exists())
            self.says(self.log(run), "planning: search ", "plans by hand ", "search: ")

    def test_a_method_by_hand_measures_nothing_and_uses_what_is_known(self):
        cold = {"XDG_CACHE_HOME": str(self.folder / "cold")}
        result = self.run_program("cold", "parallel.method=zero2", ranks=2, environment=cold)
        self.assertNotIn("measuring", result.out)
        self.assertNotIn("predicted", result.out)
        self.says(self.log("cold"), "no profile of these devices yet")
        self.run_program("auto", ranks=2, timeout=150)
        warm = self.run_program("warm", "parallel.method=zero2", ranks=2)
        self.says(warm.out, "predicted: ", "predicted ")
        self.assertNotIn("measuring", warm.out)

    def test_a_limit_of_time_is_kept(self):
        """What has been found by then is run, and the plan says so."""
        result = self.run_program("run", "parallel.search.seconds=0.05", "model.layers=16", ranks=4,
                                  timeout=150)
        self.says(result.out, "plan: auto, 4 ranks")
        self.assertIn(section(self.plan_file("run"), "search")["stopped"], ("time", "done"))


class Resuming(AutoTest):
    def test_the_plan_is_kept(self):
        self.run_program("run", "training.steps=8", ranks=2, timeout=150,
                         fault="rank=1;at=step:5.backward;do=kill9", expect=harness.KILLED)
        before = self.plan_file("run").read_bytes()
        result = self.run_program("run", ranks=2)
        self.assertEqual(self.plan_file("run").read_bytes(), before)
        self.says(self.log("run"), "the plan is that of the run before", "going on after step 4")
        self.assertNotIn("measuring", result.out)
        self.assert_steps_once("run", 8)

    def test_other_ranks_have_another_plan(self):
        self.run_program("run", "training.steps=4", ranks=2, timeout=150,
                         fault="rank=1;at=step:3.backward;do=kill9", expect=harness.KILLED)
        result = self.run_program("run", "training.steps=4", ranks=3, timeout=150)
        self.says(result.out, "is for 2 ranks, found 3: planning again", "plan: auto, 3 ranks")
        self.assert_steps_once("run", 4)

    def test_a_plan_file_for_other_ranks_is_refused(self):
        self.command(self.small, "output=p", "--cluster", str(CLUSTERS / "p3.16xlarge-8.yaml"),
                     "training.precision=fp32", timeout=150)
        result = self.run_program("run", "--plan", self.plan_file("p"), ranks=4,
                                  expect=CONFIGURATION)
        self.says(result.err, "the plan is for 8 ranks, found 4")


class Axis(RunTest):
    """One mesh axis of 4, alpha = beta = 1, compute free: optima that are known in closed form."""

    MLP = """\
model: {{preset: mlp, layers: 1, hidden: {h}, features: {h}, classes: {h}, bias: false,
        activation: relu, loss: squared_error}}
data: {{source: synthetic, synthetic: {{kind: regression}}}}
training: {{steps: 3, global_batch: {b}, precision: fp32, clip_norm: none,
           evaluate: {{every: never, samples: {b}}}}}
optimizer: {{name: sgd, learning_rate: 0.01}}
parallel: {{method: auto}}
checkpoint: {{every: never}}
"""

    def plan_and_run(self, hidden, batch, most):
        config = self.folder / f"{hidden}.yaml"
        config.write_text(self.MLP.format(h=hidden, b=batch))
        name = f"axis{hidden}"
        self.command(config, f"output={self.folder / name}", "parallel.stages=1",
                     "parallel.logical_mesh=[4]", "--cluster", str(CLUSTERS / "axis4.yaml"),
                     timeout=150)
        plan = self.folder / name / "plan.yaml"
        self.assertLessEqual(section(plan, "search")["objective"], most)
        self.run_program(name + "run", "--plan", plan, config=config, ranks=4, timeout=120)
        self.run_program(name + "one", "parallel.method=data", config=config)
        self.assert_close(losses(self.folder / (name + "run")), losses(self.folder / (name + "one")),
                          1e-3, name)

    def test_large_batch(self):
        """Data parallel: two all-reduces of 4 H^2 bytes."""
        self.plan_and_run(128, 1024, 196_610)

    def test_wide_layers(self):
        """Columns, then rows: one all-reduce of 4 B H bytes."""
        self.plan_and_run(1024, 128, 786_433)


class Planning(AutoTest):
    def plan(self, cluster, *arguments, run="plan", **options):
        return self.command(self.small, "training.precision=fp32", "--cluster",
                            str(CLUSTERS / f"{cluster}.yaml"), f"output={self.folder / run}",
                            *arguments, timeout=200, **options)

    def test_the_same_plan_has_the_same_bytes(self):
        self.plan("p3.16xlarge-4", "model.layers=2", run="one")
        self.plan("p3.16xlarge-4", "model.layers=2", run="two")
        self.assertEqual(self.plan_file("one").read_bytes(), self.plan_file("two").read_bytes())
        self.says(self.plan_file("one").read_text(), "method: auto", "compared:", "lower_bound:",
                  "speedup_over_one_device:", "forward:", "seconds:")

    def test_no_method_by_hand_is_better(self):
        result = self.plan("p3.16xlarge-4", "--compare")
        times = dict(re.findall(r"- method: (\w+)\n +step_time: (\S+)",
                                self.plan_file("plan").read_text()))
        for method, time in times.items():
            self.assertLessEqual(float(times["auto"]), float(time) * (1 + 1e-12), method)
        self.assertGreaterEqual(set(times), {"data", "zero3", "megatron", "auto"})
        self.says(result.out, "\nauto ")

    def test_explain(self):
        result = self.plan("p3.16xlarge-4", "--explain")
        self.says(result.out, "how each stage is split", "every operator", "layers.0.attention",
                  "costliest operators", "next best")

    def test_what_is_given_is_kept(self):
        self.plan("p3.16xlarge-4", "parallel.microbatches=2", "parallel.stages=2",
                  "parallel.schedule=gpipe", "parallel.logical_mesh=[2]")
        text = self.plan_file("plan").read_text()
        self.says(text, "\nmicrobatches: 2\n", "name: gpipe")
        self.assertEqual(text.count("logical_mesh: [2]"), 2)
        self.plan("p3.16xlarge-4", "parallel.layouts={layers.0.feed_forward.in: 'f@0'}",
                  "parallel.logical_mesh=[4]", "parallel.stages=1", run="layouts")
        self.assertRegex(self.plan_file("layouts").read_text(),
                         r'name: layers\.0\.feed_forward\.in\n.*\n.*\n +strategy: "?f@0')

    def test_contradictions(self):
        for change, parts in (
                (["parallel.stages=5"], ["parallel", "5"]),
                (["parallel.stages=2", "parallel.logical_mesh=[4]"], ["8 ranks, found 4"]),
                (["parallel.stages=4", "model.layers=2"], ["parallel.stages", "2 layers"]),
                (["parallel.logical_mesh=[16]"], ["16", "found 4"]),
                (["parallel.layouts={nothing.*: 'b@0'}"], ["matches no operator"]),
                (["parallel.layouts={layers.0.feed_forward.in: 'z@0'}"],
                 ["layers.0.feed_forward.in", "no factor 'z'", "it can split b ("]),
                (["parallel.layouts={layers.*.feedforward.in: 'f@0'}"],
                 ["did you mean layers.*.feed_forward.in?"]),
                (["parallel.layouts={layers.0.feed_forward.in: 'f@1', layers.*.gelu: 'b@0'}",
                  "parallel.logical_mesh=[4]", "parallel.schedule=1f1b"],
                 ['no plan meets parallel.logical_mesh=[4] and '
                  'parallel.layouts["layers.0.feed_forward.in"]=f@1 together',
                  "the mesh has no axis 1"]),
                (["parallel.layouts={layers.0.feed_forward.in: 'b@0'}", "parallel.microbatches=8",
                  "parallel.stages=1"],
                 ["parallel.microbatches=8", "layers.0.feed_forward.in", "cannot be split 4 ways"]),
                (["parallel.schedule=interleaved"], ["auto searches gpipe and 1f1b", "megatron"]),
                (["parallel.chunks_per_stage=2"], ["chunks_per_stage", "only interleaved"]),
                (["parallel.warm_up=[3, 1]", "parallel.stages=3"],
                 ["parallel.warm_up: found [3, 1]", "each of 3 stages"]),
                (["parallel.warm_up=[1, 1]"], ["parallel.warm_up[0]: found 1", "at least 2"]),
                (["parallel.warm_up=deep"], ["parallel.warm_up", "least, most"]),
                (["parallel.schedule=zero_bubble"], ["found zero_bubble, method auto"])):
            with self.subTest(change=change):
                result = self.plan("p3.16xlarge-4", *change, expect=CONFIGURATION)
                self.says(result.err, *parts)
        result = self.plan("axis4", expect=CONFIGURATION)
        self.says(result.err, "mesh_axes", "parallel.stages=1")

    def test_infeasible_memory(self):
        result = self.plan("p3.16xlarge-4", "parallel.memory_limit=10KiB", "parallel.search.seconds=10",
                           expect=NO_PLAN)
        self.says(result.err, "no plan fits", "it has 10 KiB", "too little", "needs least",
                  "parameters", "gradients", "optimizer", "stash")
        result = self.plan("p3.16xlarge-4", "parallel.memory_limit=10KiB", "parallel.search.nodes=1",
                           expect=NO_PLAN)
        self.says(result.err, "no plan fits", "raise parallel.search.nodes")
        self.plan("p3.16xlarge-4", "parallel.memory_limit=150KiB", "parallel.search.seconds=10")
        least = int(re.search(r"total: (\d+)", self.plan_file("plan").read_text()).group(1))
        self.assertLessEqual(least, 150 * 1024)

    def test_a_constraint_that_leaves_no_room_is_named(self):
        limit = ["parallel.memory_limit=700KiB", "parallel.search.seconds=10", "--plan-only",
                 f"output={self.folder}/p"]
        result = self.command(self.small, "parallel.microbatches=1", "parallel.recompute=none",
                              *limit, expect=NO_PLAN, timeout=150)
        self.says(result.err, "would fit: parallel.microbatches=",
                  "would fit: parallel.recompute=full")
        self.command(self.small, *limit, timeout=150)

    def test_clusters_that_make_no_sense(self):
        good = (CLUSTERS / "p3.16xlarge-4.yaml").read_text()
        for change, parts in (
                (("devices: 4", "devices: 0"), ["devices", "0"]),
                (("bandwidth: 1.3e+11", "bandwidth: 0"), ["bandwidth", "0"]),
                (("device: v100-16gb", "device: v1000"), ["v1000"])):
            with self.subTest(change=change):
                self.assertIn(change[0], good)
                bad = self.folder / "bad.yaml"
                bad.write_text(good.replace(*change))
                result = self.command(self.small, "--cluster", str(bad), f"output={self.folder}/p",
                                      expect={CONFIGURATION, harness.INPUT_MISSING})
                self.says(result.err, *parts)

    def test_ranks_that_mpirun_starts(self):
        arguments = [self.small, "--plan-only", f"output={self.folder / 'plan'}",
                     "parallel.memory_limit=1GiB"]  # else what is free now
        result = self.command(*arguments, ranks=2, timeout=150)
        self.says(result.out, "plan: auto, 2 ranks", "predicted: ")
        first = self.plan_file("plan").read_bytes()
        again = self.command(*arguments, ranks=2, timeout=150)
        # A host too busy to be measured is measured anew each time, and found another.
        if "the profile is not kept" not in result.err + again.err:
            self.assertEqual(first, self.plan_file("plan").read_bytes())
        self.run_program("run", "--plan", self.plan_file("plan"), ranks=2)


if __name__ == "__main__":
    harness.main()
