"""State is addressed by tensor and index: any number of ranks and any plan goes on with it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import CHECKPOINT, CONFIGURATION, checkpoints, losses


class OtherPlan(harness.RunTest):
    PLANS = (("pipedream", 2, ["parallel.method=pipedream"]),
             ("inter_only", 2, ["parallel.method=inter_only", "parallel.schedule=interleaved"]),
             ("zero3", 3, ["parallel.method=zero3"]),
             ("megatron", 4, ["parallel.method=megatron", "parallel.data=1", "parallel.tensor=2",
                              "parallel.pipeline=2"]))

    def check_precision(self, precision, relative):
        self.run_program("calm", f"training.precision={precision}", "checkpoint.keep=4")
        expected = losses(self.folder / "calm")
        self.run_program("four", f"training.precision={precision}", ranks=4,
                         fault="rank=3;at=step:5.backward;do=kill9", expect=harness.KILLED)
        for name, ranks, plan in self.PLANS:
            with self.subTest(plan=name):
                self.copy("four", name)
                self.run_program(name, f"training.precision={precision}", *plan, ranks=ranks)
                self.says(self.log(name), "going on after step 4", f"plan: {name}, {ranks} ranks")
                self.assert_steps_once(name, 8)
                self.assert_close(losses(self.folder / name), expected, relative, name)
                yield name

    def copy(self, run, to):
        harness.shutil.copytree(self.folder / run, self.folder / to)

    def test_fp64(self):
        for name in list(self.check_precision("fp64", 1e-9)):
            mine = harness.state(self.folder / name, 8)
            for tensor, value in harness.state(self.folder / "calm", 8).items():
                norm = abs(value).max()
                self.assertEqual(mine[tensor].shape, value.shape)
                self.assertLessEqual(abs(mine[tensor] - value).max(), 1e-9 * max(norm, 1e-6),
                                     f"{tensor} under {name}")

    def test_fp32(self):
        list(self.check_precision("fp32", 1e-3))


class WholeTensors(harness.RunTest):
    def test_state_of_four_ranks_is_that_of_one(self):
        """Under plans that hold pieces on several ranks, uneven ones too, and own layers only."""
        self.run_program("one")
        one = harness.state(self.folder / "one", 8)
        parameters = [name for name in one if name.endswith("weight")]
        self.assertGreater(len(parameters), 8)
        for name, ranks, plan in (("zero3", 3, []), ("megatron", 4, ["parallel.tensor=2",
                                                                    "parallel.pipeline=2"])):
            with self.subTest(method=name):
                self.run_program(name, f"parallel.method={name}", *plan, ranks=ranks)
                many = harness.state(self.folder / name, 8)
                self.assertEqual(sorted(many), sorted(one))
                for tensor, value in one.items():
                    self.assertEqual(many[tensor].shape, value.shape)
                    self.assertEqual(many[tensor].dtype, value.dtype)
                    self.assertLessEqual(abs(many[tensor] - value).max(),
                                         1e-9 * max(abs(value).max(), 1e-6), tensor)


class Continuing(harness.RunTest):
    def test_a_finished_run_has_nothing_to_do(self):
        self.run_program("run", ranks=2)
        before = (self.folder / "run" / "metrics.jsonl").read_bytes()
        again = self.run_program("run", ranks=2)
        self.says(again.out, "nothing to do")
        self.assertEqual((self.folder / "run" / "metrics.jsonl").read_bytes(), before)
        self.assertEqual(checkpoints(self.folder / "run"), [6, 8])

    def test_more_steps_go_on(self):
        self.run_program("run", "optimizer.schedule.name=constant")
        self.run_program("run", "optimizer.schedule.name=constant", "training.steps=12")
        self.run_program("whole", "optimizer.schedule.name=constant", "training.steps=12")
        self.assert_steps_once("run", 12)
        self.assert_same_state("run", "whole", 12)

    def test_resume_none_starts_anew(self):
        self.run_program("run")
        expected = losses(self.folder / "run")
        self.run_program("run", "--resume", "none", "training.steps=4")
        self.assert_steps_once("run", 4)
        self.assertNotIn("nothing to do", self.log("run"))
        self.assertEqual(losses(self.folder / "run")[:2], expected[:2])

    def test_resume_from_another_run(self):
        self.run_program("from")
        where = harness.checkpoint_path(self.folder / "from", 6)
        self.run_program("to", "--resume", where)
        self.assertEqual([line["step"] for line in harness.metrics(self.folder / "to")], [7, 8])
        self.assert_same_state("to", "from", 8)
        self.run_program("to2", "--resume", self.folder / "nowhere", expect=harness.INPUT_MISSING)

    def test_another_run_in_the_directory_is_refused(self):
        self.run_program("run")
        kept = harness.state(self.folder / "run", 8)
        for change in ("model.hidden=32", "training.seed=2", "training.global_batch=4",
                       "optimizer.betas=[0.8, 0.9]"):
            with self.subTest(change=change):
                result = self.run_program("run", change, expect=(CHECKPOINT, CONFIGURATION))
                key = change.partition("=")[0].rpartition(".")[2]
                self.says(result.err, key, "found", "expected")
        self.assertEqual(sorted(harness.state(self.folder / "run", 8)), sorted(kept))

    def test_checkpoint_of_another_model_lists_what_differs(self):
        self.run_program("run")
        where = harness.checkpoint_path(self.folder / "run", 8)
        result = self.run_program("other", "model.hidden=32", "--resume", where, ranks=2,
                                  expect=CHECKPOINT)
        self.says(result.err, "of another model", "layers.0.", "nothing was loaded")

    def test_other_tokens_are_noticed(self):
        """The same file name, other content: that is another run."""
        tokens = self.folder / "ids.bin"
        tokens.write_bytes(b"".join((i * 7 % 32).to_bytes(2, "little") for i in range(4000)))
        data = ["data={source: tokens, tokens: {files: [ids.bin]}, held_out: 0.1}"]
        self.run_program("run", *data, fault="at=step:5.data;do=throw", expect=harness.BUG)
        tokens.write_bytes(b"".join((i * 5 % 32).to_bytes(2, "little") for i in range(4000)))
        self.says(self.run_program("run", *data, expect=CHECKPOINT).err, "the data is not what")
        self.assertEqual(checkpoints(self.folder / "run"), [2, 4])

    def test_other_text_is_noticed(self):
        text = self.folder / "a.txt"
        text.write_text("the quick brown fox jumps over the lazy dog\n" * 40)
        data = ["data={source: text, text: [a.txt], held_out: 0.1}", "model.vocabulary=256"]
        self.run_program("run", *data, ranks=2, fault="rank=0;at=step:5.data;do=kill9",
                         expect=harness.KILLED)
        text.touch()  # a later time of change alone is no other text
        self.run_program("run", *data, "training.steps=6", ranks=2)
        text.write_text("the quick brown fox jumps over the lazy cat\n" * 40)
        self.says(self.run_program("run", *data, ranks=2, expect=CHECKPOINT).err,
                  "the data is not what")


if __name__ == "__main__":
    harness.main()
