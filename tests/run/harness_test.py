"""The harness can fail: what the other scripts rely on is checked with jobs that are in the wrong."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness


class Harness(harness.RunTest):
    def job(self, script):
        return harness.Job([], cwd=self.folder, command=["sh", "-c", script])

    def test_a_process_that_outlives_its_job_is_found_and_ended(self):
        job = self.job("sleep 300 & exit 0")
        result = job.wait()
        self.assertEqual(result.code, 0)
        self.assertEqual(len(result.leftover), 1)
        with self.assertRaises(AssertionError):
            self.check(result, 0)
        self.assertEqual(harness.processes_of(job.marker), [])

    def test_a_job_that_does_not_end_fails(self):
        start = time.monotonic()
        with self.assertRaises(AssertionError):
            self.job("echo started; exec sleep 300").wait(timeout=0.5)
        self.assertLess(time.monotonic() - start, 5)

    def test_codes_and_texts(self):
        result = self.job("echo out; echo err >&2; exit 79").wait()
        self.assertEqual((result.code, result.out, result.err), (79, "out\n", "err\n"))
        with self.assertRaises(AssertionError):
            self.check(result, 0)

    def test_a_step_twice_or_missing_is_found(self):
        (self.folder / "run").mkdir()
        for steps, fine in (([1, 2, 3], True), ([1, 2, 2, 3], False), ([1, 3], False)):
            lines = "".join(f'{{"step": {step}}}\n' for step in steps)
            (self.folder / "run" / "metrics.jsonl").write_text(lines)
            if fine:
                self.assert_steps_once("run", 3)
                continue
            with self.assertRaises(AssertionError):
                self.assert_steps_once("run", 3)

    def test_losses_that_are_not_close_are_found(self):
        self.assert_close([1.0, 2.0], [1.0, 2.0 + 1e-10], 1e-9)
        for wrong in ([1.0, 2.0 + 1e-8], [1.0], [1.0, float("nan")]):
            with self.assertRaises(AssertionError):
                self.assert_close(wrong, [1.0, 2.0], 1e-9)


if __name__ == "__main__":
    harness.main()
