"""Backward that computes again: the same training in less memory and with more work."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import CONFIGURATION, NO_PLAN, SMALL, RunTest, losses, rank_records


class Recompute(RunTest):
    def plan(self, run):
        return (self.folder / run / "plan.yaml").read_text()

    def plan_says(self, run, *parts):
        text = self.plan(run)
        for part in parts:
            self.assertTrue(part in text, f"{part} in the plan of {run}")

    def keeps_everything(self, run):
        self.assertFalse("recompute" in self.plan(run), run)

    def memory(self, run):
        """Bytes of rank 0 by class."""
        return rank_records(self.folder / run)[0]["memory"]

    def shown(self, run, key):
        """A number of plan.yaml, where it stands once."""
        found = [line.split(": ")[1] for line in self.plan(run).splitlines()
                 if line.strip().startswith(key + ": ")]
        self.assertEqual(len(found), 1, key)
        return float(found[0])

    def test_the_numbers_stay_the_memory_shrinks_and_the_work_grows(self):
        self.run_program("none", "parallel.recompute=none", ranks=2)
        expected = losses(self.folder / "none")
        kept = rank_records(self.folder / "none")
        self.keeps_everything("none")
        before = kept[0]["memory"]["stash"]
        for choice in ("attention", "full"):
            result = self.run_program(choice, f"parallel.recompute={choice}", ranks=2)
            self.says(result.out, "recomputed\n", f"{choice} 0-3\n", "FLOP computed again, global")
            self.assert_close(losses(self.folder / choice), expected, 1e-9, choice)
            ranks = rank_records(self.folder / choice)
            self.assertLess(ranks[0]["memory"]["stash"], before)
            before = ranks[0]["memory"]["stash"]
            again = self.shown(choice, "recomputed_flops_per_step")
            grown = sum(r["flops"] for r in ranks) - sum(r["flops"] for r in kept)
            self.assertEqual(grown, 8 * again)
            self.plan_says(choice, f"    recompute:\n      {choice}: [[0, 3]]\n")
            self.assertEqual(self.shown(choice, "flops_per_step"),
                             self.shown("none", "flops_per_step"))
        # What backward reads of a layer: its input, of 4 samples and 8 positions of 16 numbers.
        self.assertEqual(before, 3 * 4 * 8 * 16 * 8)

    def test_a_plan_chooses_layer_by_layer(self):
        self.run_program("all", "parallel.method=megatron", "parallel.pipeline=2",
                         "parallel.recompute=full", ranks=2)
        text = self.plan("all")
        self.plan_says("all", "full: [[0, 1]]", "full: [[2, 3]]")
        file = self.folder / "mixed.yaml"
        file.write_text(text.replace("full: [[0, 1]]", "attention: [[1, 1]]")
                        .replace("full: [[2, 3]]", "full: [[3, 3]]"))
        self.run_program("mixed", "--plan", str(file), ranks=2)
        self.plan_says("mixed", "attention: [[1, 1]]", "full: [[3, 3]]")
        self.assert_close(losses(self.folder / "mixed"), losses(self.folder / "all"), 1e-9)
        file.write_text(text.replace("full: [[0, 1]]", "full: [[0, 2]]"))
        result = self.run_program("bad", "--plan", str(file), ranks=2, expect=CONFIGURATION)
        self.says(result.err, "stages[0].recompute.full[0]: found layers 0 to 2, expected layers of "
                              "the stage's chunks")
        file.write_text(text)
        result = self.run_program("other", "--plan", str(file), "model.layers=5", ranks=2,
                                  expect=CONFIGURATION)
        self.says(result.err, "the plan is for another model")

    def test_goes_on_from_a_checkpoint_of_a_run_that_kept_everything(self):
        steady = "optimizer.schedule={name: constant}"
        self.run_program("whole", steady, ranks=2)
        self.run_program("parts", steady, "training.steps=4", ranks=2)
        self.run_program("parts", steady, "parallel.recompute=full", ranks=2)
        self.plan_says("parts", "full: [[0, 3]]")
        self.assert_steps_once("parts", 8)
        self.assert_close(losses(self.folder / "parts"), losses(self.folder / "whole"), 1e-9)

    def test_is_proposed_where_memory_is_short(self):
        given = "parallel.microbatches=1"
        self.run_program("full", given, "parallel.recompute=full")
        need = int(self.memory("full")["total"] * 1.05)
        result = self.run_program("short", given, f"parallel.memory_limit={need}", expect=NO_PLAN)
        self.says(result.err, "would fit: parallel.recompute=full")
        self.run_program("fits", given, f"parallel.memory_limit={need}",
                         "parallel.recompute=full")

    def test_the_search_takes_what_fits(self):
        self.run_program("kept", "parallel.method=auto", "parallel.microbatches=1")
        self.keeps_everything("kept")
        need = int(self.memory("kept")["total"] * 0.8)
        self.run_program("again", "parallel.method=auto", "parallel.microbatches=1",
                         f"parallel.memory_limit={need}")
        self.plan_says("again", "      full: [[")
        self.assertNotIn("full: [[0, 3]]", self.plan("again"))  # fewer layers do
        self.assert_close(losses(self.folder / "again"), losses(self.folder / "kept"), 1e-9)

    def test_attention_needs_a_model_that_has_some(self):
        config = self.folder / "mlp.yaml"
        config.write_text(SMALL.replace(
            "preset: gpt, layers: 4, hidden: 16, heads: 2, sequence: 8, vocabulary: 32,\n"
            "        tied_embedding: true,", "preset: mlp, layers: 3, hidden: 16,")
            .replace("kind: tokens", "kind: classes"))
        for method in ("data", "auto"):
            result = self.run_program("mlp", "parallel.recompute=attention",
                                      f"parallel.method={method}", config=config,
                                      expect=CONFIGURATION)
            self.says(result.err, "parallel.recompute: found attention, no layer of the model has "
                                  "any; expected auto, none or full")
        self.run_program("mlp_full", "parallel.recompute=full", config=config)


if __name__ == "__main__":
    harness.main()
