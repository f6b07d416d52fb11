"""The shipped configurations do what they promise, on any number of ranks."""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import SOURCE, losses


class Mlp(harness.RunTest):
    def test_learns_its_classes_and_equally_on_1_2_4_ranks(self):
        """First loss ln 10 to 5 %, at most 60 % of it after 10 steps."""
        by_ranks = {}
        for ranks in (1, 2, 4):
            run = f"run{ranks}"
            self.run_program(run, "training.steps=11", "checkpoint.every=never",
                             "training.evaluate.samples=32", config=SOURCE / "configs/mlp.yaml",
                             ranks=ranks, timeout=120)
            mine = by_ranks[ranks] = losses(self.folder / run)
            self.assertLessEqual(abs(mine[0] - math.log(10)), 0.05 * math.log(10))
            self.assertLessEqual(mine[10], 0.6 * mine[0])
            for step, (a, b) in enumerate(zip(mine, by_ranks[1])):  # the last ones are close to 0
                self.assertLessEqual(abs(a - b), 1e-3 * max(b, 0.1), f"{ranks} ranks, step {step}")


class ManyRanks(harness.RunTest):
    def test_64_ranks_finish_3_steps_of_the_quickstart(self):
        text = self.folder / "text"
        text.mkdir()
        (text / "a.txt").write_text("".join(
            f"{i} bottles stand on the wall; take {i % 7} of them down.\n" for i in range(3000)))
        result = self.run_program("run", f"data.text=[{text}]", "training.steps=3",
                                  "training.evaluate.samples=32",
                                  config=SOURCE / "configs/quickstart.yaml", ranks=64, timeout=540)
        self.assert_steps_once("run", 3)
        self.assertEqual(len(harness.rank_records(self.folder / "run")), 64)
        self.assertLess(losses(self.folder / "run")[2], losses(self.folder / "run")[0])
        print(f"64 ranks: {result.seconds:.0f} s")


class Scaling(harness.RunTest):
    CONFIG = "configs/tiny.yaml"
    STEPS = 10

    def test_losses_traffic_and_time_on_1_2_4_8_ranks(self):
        """Method data sends 2 (N-1)/N of the gradients' bytes a step, and the losses are equal."""
        expected = None
        rows = []
        for ranks in (1, 2, 4, 8):
            run = f"run{ranks}"
            self.run_program(run, f"training.steps={self.STEPS}", "checkpoint.every=never",
                             "training.precision=fp32", "training.evaluate.samples=16",
                             "model.hidden=64", config=SOURCE / self.CONFIG, ranks=ranks,
                             timeout=120)
            mine = losses(self.folder / run)
            expected = expected or mine
            self.assert_close(mine, expected, 1e-3, f"losses on {ranks} ranks")
            times = sorted(line["step_time"] for line in harness.metrics(self.folder / run)[1:])
            rows.append((ranks, times[len(times) // 2]))
            self.check_traffic(run, ranks)
        print("\nranks  median step  efficiency on these cores")
        for ranks, seconds in rows:
            cores = min(ranks, harness.os.cpu_count())
            print(f"{ranks:5}  {seconds * 1e3:8.1f} ms  {rows[0][1] / (cores * seconds):10.2f}")

    def check_traffic(self, run, ranks):
        parameters = sum(value.size for name, value in self.parameters().items())
        gradients = 2 * (ranks - 1) / ranks * 4 * parameters * self.STEPS
        for record in harness.rank_records(self.folder / run):
            sent = record["bytes_sent"]
            if ranks == 1:
                self.assertEqual(sum(sent.values()), 0)
                continue
            self.assertEqual(set(sent), {"all_reduce"})
            scalars = sent["all_reduce"] - gradients
            # loss and norm, a few doubles a step
            self.assertGreaterEqual(scalars, -0.5 * self.STEPS)
            self.assertLessEqual(scalars, 2 * 8 * 16 * self.STEPS,
                                 f"{sent} on {ranks} ranks, gradients {gradients}")

    def parameters(self):
        """Of the model, from a checkpoint of it."""
        if not hasattr(self, "shapes"):
            self.run_program("shapes", "training.steps=1", "model.hidden=64",
                             config=SOURCE / self.CONFIG)
            whole = harness.state(self.folder / "shapes", 1)
            self.shapes = {n: v for n, v in whole.items() if not self.is_optimizer(n)}
            self.assertEqual(3 * len(self.shapes), len(whole), "two moments a parameter")
        return self.shapes

    @staticmethod
    def is_optimizer(name):
        return name.rpartition(".")[2] not in ("weight", "bias")


if __name__ == "__main__":
    harness.main()
