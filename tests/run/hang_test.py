"""Ranks that hang, crash, run out of memory or compute nonsense: told apart, named, never left over."""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import BUG, DONE, NUMERICS, OUT_OF_MEMORY, RANK_LOST, metrics


class Hang(harness.RunTest):
    def hang(self, fault, *named, ranks=3, patience=3):
        result = self.run_program("run", f"training.watchdog={patience}s", ranks=ranks,
                                  fault=fault, expect=RANK_LOST, timeout=50)
        self.assertLess(result.seconds, 35)
        self.says(result.err, "no rank has made progress", "keeps the others waiting", *named)
        return result

    def test_stopped_in_a_step(self):
        """The rank that shows no sign of life is named, as far as its last heartbeat tells."""
        self.hang("rank=1;at=step:2.forward;do=sleep:1.5,rank=1;at=step:3.backward;do=stop",
                  "rank 1", "train, step")

    def test_asleep_in_a_step(self):
        self.hang("rank=2;at=step:4.forward;do=sleep:1000", "rank 2", "step 4", "forward",
                  "instruction")
        self.says(str(harness.exit_record(self.folder / "run")), "'code': '75'")

    def test_asleep_in_a_checkpoint(self):
        self.hang("rank=1;at=checkpoint:2.write:1;do=sleep:1000", "rank 1", "checkpoint")

    def test_asleep_in_planning(self):
        self.hang("rank=0;at=plan;do=sleep:1000", "plan", ranks=2)

    def test_asleep_at_the_end(self):
        self.hang("rank=1;at=finalize;do=sleep:1000", "rank 1", "finalize", ranks=2)

    def test_slow_is_no_hang(self):
        """As long as the patience in all, but never without progress."""
        self.run_program("run", "training.watchdog=6s", "training.steps=4", ranks=2,
                         fault="rank=1;at=step:1.forward;do=sleep:2,"
                               "rank=1;at=step:2.forward;do=sleep:2,"
                               "rank=0;at=step:3.forward;do=sleep:2,"
                               "rank=1;at=step:4.forward;do=sleep:2")
        self.assert_steps_once("run", 4)


class Crash(harness.RunTest):
    def crash(self, deed, *codes):
        return self.run_program("run", ranks=3, fault=f"rank=1;at=step:3.backward;do={deed}",
                                expect=codes)

    def test_segmentation_fault(self):
        self.crash("segv", 139)
        self.run_program("run", ranks=3)
        self.says(self.log("run"), "the run before: ", "rank 1")
        self.assert_steps_once("run", 8)

    def test_abort(self):
        self.crash("abort", 134)

    def test_error(self):
        result = self.crash("throw", BUG)
        self.says(result.err, "error on rank 1", "step 3", "injected fault")
        self.assertEqual(result.err.count("alpa: error"), 1, result.err)

    def test_out_of_memory(self):
        result = self.crash("oom", OUT_OF_MEMORY)
        self.says(result.err, "error on rank 1", "out of host memory", "in use")


class Numerics(harness.RunTest):
    def test_nan_and_infinity_stop_before_the_update(self):
        for value in ("nan", "inf"):
            with self.subTest(value=value):
                result = self.run_program(value, ranks=3, expect=NUMERICS,
                                          fault=f"rank=2;at=step:4.data;do={value}")
                self.says(result.err, "step 4", "not finite on rank 2: ", "Nothing was updated",
                          "weight")
                self.assertNotIn("on rank 0:", result.err)
                self.assertEqual([m["step"] for m in metrics(self.folder / value)], [1, 2, 3])
        self.run_program("nan", ranks=3)
        self.run_program("calm", ranks=3)
        self.assert_same_state("nan", "calm", 8)

    def test_skipped_where_asked(self):
        skip = "training.on_nonfinite={skip: 1}"
        self.run_program("run", skip, ranks=2, fault="rank=1;at=step:4.data;do=nan")
        self.assert_steps_once("run", 8)
        lines = metrics(self.folder / "run")
        self.assertEqual([m["skipped"] for m in lines], [m["step"] == 4 for m in lines])
        for tensor, value in harness.state(self.folder / "run", 8).items():
            self.assertTrue(math.isfinite(float(abs(value).max())), tensor)
        result = self.run_program("limit", skip, ranks=2, expect=NUMERICS,
                                  fault="rank=1;at=step:4.data;do=nan,rank=0;at=step:5.data;do=nan")
        self.says(result.err, "step 5", "not finite on rank 0: ", "skipped before: 1")

    def test_a_skipped_step_is_restored(self):
        """The optimizer's count is behind the step's; a resume must know."""
        skip = "training.on_nonfinite={skip: 1}"
        fault = "at=step:3.data;do=nan"
        self.run_program("calm", skip, ranks=2, fault=fault)
        self.run_program("run", skip, ranks=2, expect=harness.KILLED,
                         fault=fault + ",rank=0;at=step:6.backward;do=kill9")
        self.run_program("run", skip, ranks=2)
        self.assert_same_state("run", "calm", 8)

    def test_bad_token(self):
        result = self.run_program("run", ranks=2, fault="rank=1;at=step:3.data;do=badtoken",
                                  expect=harness.BAD_DATA)
        self.says(result.err, "rank 1", "step 3", "2147483647", "[0, 32)")


if __name__ == "__main__":
    harness.main()
