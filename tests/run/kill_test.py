"""kill -9 of a rank at any moment, then the same command again: as if nothing had happened."""

import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import DONE, KILLED, NO_PROGRESS, checkpoints


class KilledRank(harness.RunTest):
    def test_in_a_step_and_again_after_the_resume(self):
        self.run_program("calm", ranks=4)
        lost = self.run_program("run", ranks=4, fault="rank=2;at=step:5.backward;do=kill9",
                                expect=KILLED)
        self.assertLess(lost.seconds, 15, "the job did not end with its rank")
        self.assertEqual(checkpoints(self.folder / "run"), [2, 4])
        self.run_program("run", ranks=4, fault="rank=1;at=step:7.update;do=kill9", expect=KILLED)
        self.says(self.log("run"), "rank 2", "going on after step 4")
        self.run_program("run", ranks=4)
        self.says(self.log("run"), "the run before: ", "rank 1", "going on after step 6")
        self.assert_steps_once("run", 8)
        self.assertEqual(harness.losses(self.folder / "run"), harness.losses(self.folder / "calm"))
        self.assert_same_state("run", "calm", 8)
        # the comparison can fail
        self.run_program("other", "training.seed=2", ranks=2)
        with self.assertRaises(AssertionError):
            self.assert_same_state("other", "calm", 8)

    def test_before_the_first_step_and_at_the_end(self):
        self.run_program("calm", ranks=2)
        for point in ("init", "plan", "load", "step:1.forward", "finalize"):
            with self.subTest(point=point):
                self.run_program(f"run-{point}", ranks=2, fault=f"rank=1;at={point};do=kill9",
                                 expect=KILLED)
                self.run_program(f"run-{point}", ranks=2)
                self.assert_steps_once(f"run-{point}", 8)
                self.assert_same_state(f"run-{point}", "calm", 8)


    def test_launcher(self):
        """Ranks do not outlive mpirun."""
        job = self.start("run", "training.steps=1000000", ranks=3)
        while not (self.folder / "run" / "metrics.jsonl").exists():
            self.assertIsNone(job.process.poll(), "no step")
            time.sleep(0.02)
        job.process.kill()
        self.check(job.wait(outlive=10), -9)
        self.run_program("run", f"training.steps={self.saved('run') + 2}", ranks=3)

    def saved(self, run):
        return checkpoints(self.folder / run)[-1]


class RandomKills(harness.RunTest):
    def test_of_any_rank_at_any_moment(self):
        """A run of 400 steps, under 12 kills of random ranks after random numbers of steps."""
        draw = random.Random(7)
        options = ["training.steps=400", "checkpoint={every: 5, asynchronous: true}"]
        self.run_program("calm", *options, ranks=3)
        for number in range(12):
            job = self.start("run", *options, ranks=3)
            last = self.steps("run") + draw.randrange(2, 40)
            while self.steps("run") < last and job.process.poll() is None:
                time.sleep(0.001)
            time.sleep(draw.random() * 0.02)
            ranks = job.rank_pids()
            if ranks:
                harness.os.kill(draw.choice(ranks), signal.SIGKILL)
            self.check(job.wait(), {KILLED, DONE})
            if job.process.returncode == DONE:
                break
        self.assertGreater(number, 2, "hardly a kill")
        self.run_program("run", *options, ranks=3)
        self.assert_steps_once("run", 400)
        self.assertEqual(harness.losses(self.folder / "run"), harness.losses(self.folder / "calm"))
        self.assert_same_state("run", "calm", 400)

    def steps(self, run):
        file = self.folder / run / "metrics.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0


class KilledWhileSaving(harness.RunTest):
    # The calls of rank 0: its own file, state.h5, the manifest, the hint `latest`.
    POINTS = ("stage", "write:1", "write:2", "write:3", "write:4", "fsync", "rename", "prune")

    def test_at_every_call_of_a_checkpoint(self):
        """One process without a launcher, so that each point takes a fraction of a second."""
        self.run_program("calm")
        happened = 0
        for point in self.POINTS:
            with self.subTest(point=point):
                run = f"run-{point}"
                first = self.run_program(run, fault=f"at=checkpoint:6.{point};do=kill9",
                                         expect=(-9, DONE))
                happened += first.code == -9
                saved = checkpoints(self.folder / run)
                self.assertIn(4, saved)
                self.run_program(run, fault="at=step:8.backward;do=kill9", expect=(-9, DONE))
                self.run_program(run)
                self.assert_steps_once(run, 8)
                self.assert_same_state(run, "calm", 8)
        self.assertGreaterEqual(happened, 7, "points that the program never reaches")

    def test_of_several_ranks(self):
        self.run_program("calm", ranks=3)
        for rank, point in ((0, "rename"), (1, "write:1"), (2, "fsync")):
            with self.subTest(rank=rank, point=point):
                run = f"run-{point}"
                self.run_program(run, ranks=3, fault=f"rank={rank};at=checkpoint:4.{point};do=kill9",
                                 expect=KILLED)
                self.assertEqual(checkpoints(self.folder / run)[0], 2)
                self.run_program(run, ranks=3)
                self.assert_steps_once(run, 8)
                self.assert_same_state(run, "calm", 8)
                folder = self.folder / run / "checkpoints"
                self.assertEqual([p.name for p in folder.iterdir() if "tmp" in p.name], [])

    def test_beside_running_steps(self):
        self.run_program("calm", ranks=2)
        self.run_program("run", "checkpoint.asynchronous=true", ranks=2,
                         fault="rank=1;at=checkpoint:2.write:1;do=kill9", expect=KILLED)
        self.run_program("run", "checkpoint.asynchronous=true", ranks=2)
        self.assert_steps_once("run", 8)
        self.assert_same_state("run", "calm", 8)


class NoProgress(harness.RunTest):
    def test_three_restarts_at_one_place_end_it(self):
        fault = "rank=1;at=step:3.backward;do=kill9"
        for _ in range(4):  # from step 0, then three restarts
            self.run_program("run", ranks=2, fault=fault, expect=KILLED)
        last = self.run_program("run", ranks=2, fault=fault, expect=NO_PROGRESS)
        self.says(last.err, "rank 1", "without getting beyond the state after step 2", "restarts")


if __name__ == "__main__":
    harness.main()
