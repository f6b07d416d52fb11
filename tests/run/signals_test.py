"""Signals and time limits: save, stop, and go on as if nothing had happened."""

import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import DONE, STOPPED, checkpoints, metrics

# Saves nothing by itself. The run is long; a test that wants its end shortens it after the stop.
QUIET = ["checkpoint.every=never", "optimizer.schedule.name=constant"]
LONG = [*QUIET, "training.steps=1000000"]


class Signals(harness.RunTest):
    def started(self, run, *arguments, ranks=2):
        """A job in its training steps."""
        job = self.start(run, *arguments, ranks=ranks)
        file = self.folder / run / "metrics.jsonl"
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline and job.process.poll() is None:
            if file.exists() and file.stat().st_size > 400:
                return job
            time.sleep(0.02)
        self.fail("no step: " + job.wait(1).text)

    def stopped_at(self, run):
        """The last step's checkpoint is there, and nothing was done after it."""
        step = metrics(self.folder / run)[-1]["step"]
        self.assertEqual(checkpoints(self.folder / run)[-1], step)
        self.assertEqual(harness.exit_record(self.folder / run)["code"], "85")
        return step

    def same_as_uninterrupted(self, run, step, ranks=2):
        """Two more steps make what a run without the stop has."""
        steps = f"training.steps={step + 2}"
        options = ["optimizer.schedule.name=constant", steps, "checkpoint.every=1000000"]
        self.run_program(run, *options, ranks=ranks)
        self.run_program("calm", *options, ranks=ranks)
        self.assert_steps_once(run, step + 2)
        self.assert_same_state(run, "calm", step + 2)

    def test_usr1_saves_and_stops(self):
        job = self.started("run", *LONG)
        job.signal_ranks(signal.SIGUSR1)
        self.check(job.wait(), STOPPED)
        self.same_as_uninterrupted("run", self.stopped_at("run"))

    def test_usr1_to_the_launcher_and_to_one_rank(self):
        job = self.started("whole", *LONG)
        job.process.send_signal(signal.SIGUSR1)  # mpirun hands it on
        self.check(job.wait(), STOPPED)
        self.stopped_at("whole")
        job = self.started("one", *LONG)
        harness.os.kill(job.rank_pids()[-1], signal.SIGUSR1)
        self.check(job.wait(), STOPPED)
        self.stopped_at("one")

    def test_usr2_saves_and_goes_on(self):
        job = self.started("run", *LONG)
        job.signal_ranks(signal.SIGUSR2)
        deadline = time.monotonic() + 20
        while not checkpoints(self.folder / "run") and time.monotonic() < deadline:
            time.sleep(0.05)
        saved = checkpoints(self.folder / "run")
        self.assertTrue(saved, "no checkpoint")
        time.sleep(0.3)
        job.signal_ranks(signal.SIGUSR1)
        self.check(job.wait(), STOPPED)
        self.assertGreater(self.stopped_at("run"), saved[0])

    def test_term_leaves_the_earlier_checkpoint(self):
        job = self.started("run", *LONG, "checkpoint.every=20")
        while not checkpoints(self.folder / "run"):
            time.sleep(0.02)
        told = time.monotonic()
        job.process.send_signal(signal.SIGTERM)
        result = job.wait()
        self.check(result, {1, 143, 15, 130})
        self.assertLess(time.monotonic() - told, 10)
        newest = harness.checkpoint_path(self.folder / "run", checkpoints(self.folder / "run")[-1])
        self.says(self.command("--verify", newest).out, "valid")
        self.run_program("run", "optimizer.schedule.name=constant",
                         f"training.steps={checkpoints(self.folder / 'run')[-1] + 1}", ranks=2)
        self.says(self.log("run"), "SIGTERM")

    def test_time_limit(self):
        result = self.run_program("run", *LONG, "training.time_limit=8s", ranks=2, expect=STOPPED)
        self.assertLess(result.seconds, 12)
        self.stopped_at("run")

    def test_end_of_the_slurm_job(self):
        end = str(int(time.time()) + 8)
        result = self.run_program("run", *LONG, expect=STOPPED,
                                  environment={"SLURM_JOB_END_TIME": end})
        self.assertLess(result.seconds, 12)
        self.stopped_at("run")


if __name__ == "__main__":
    harness.main()
