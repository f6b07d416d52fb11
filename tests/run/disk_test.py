"""Full disks, failing disks, bits that flip: training state and earlier checkpoints stay intact."""

import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import BUG, CHECKPOINT, DONE, INPUT_MISSING, IO, RUN_DIRECTORY, checkpoints


class FailingDisk(harness.RunTest):
    def test_of_one_rank_stops_with_the_earlier_checkpoint(self):
        self.run_program("calm", ranks=3)
        for rank, point, deed in ((2, "write:1", "enospc"), (1, "fsync", "eio"),
                                  (0, "write:2", "eio"), (0, "rename", "enospc")):
            with self.subTest(rank=rank, point=point, deed=deed):
                run = f"run-{deed}-{point}"
                result = self.run_program(run, ranks=3, expect=IO,
                                          fault=f"rank={rank};at=checkpoint:4.{point};do={deed}")
                self.says(result.err, "checkpoint of step 4", "step_00000004")
                self.assertEqual(checkpoints(self.folder / run), [2])
                folder = self.folder / run / "checkpoints"
                self.assertEqual([p.name for p in folder.iterdir() if "tmp" in p.name], [],
                                 "half a checkpoint was left")
                self.run_program(run, ranks=3)
                self.assert_same_state(run, "calm", 8)

    def test_short_write_is_completed(self):
        self.run_program("run", fault="at=checkpoint:6.write:1;do=shortwrite")
        self.says(self.command("--verify", harness.checkpoint_path(self.folder / "run", 6)).out,
                  "valid")

    def test_goes_on_where_told_to(self):
        self.run_program("calm", ranks=2)
        self.run_program("run", "checkpoint.on_error=continue", ranks=2,
                         fault="rank=1;at=checkpoint:4.write:1;do=enospc")
        self.says(self.log("run"), "warning", "checkpoint of step 4", "training goes on")
        self.assertEqual(checkpoints(self.folder / "run"), [6, 8])
        self.assert_same_state("run", "calm", 8)

    def test_full_log_disk_is_a_warning(self):
        """The log cannot be written from the start: the training does not depend on it."""
        (self.folder / "run").mkdir()
        (self.folder / "run" / "log.txt").symlink_to("/dev/full")
        result = self.run_program("run", ranks=None, expect=(DONE, RUN_DIRECTORY))
        if result.code == DONE:
            self.assert_steps_once("run", 8)


class Damage(harness.RunTest):
    def damaged(self, change):
        """A finished run whose newest checkpoint `change` damages; returns that checkpoint."""
        self.run_program("run")
        newest = harness.checkpoint_path(self.folder / "run", 8)
        change(newest)
        return newest

    def flip(self, path, place=0.5):
        content = bytearray(path.read_bytes())
        content[int(len(content) * place)] ^= 4
        path.write_bytes(content)

    def test_is_found_and_the_one_before_taken(self):
        expected = None
        changes = {
            "flip a rank file": lambda c: self.flip(c / "rank_00000.h5"),
            "flip the state file": lambda c: self.flip(c / "state.h5"),
            "flip the manifest": lambda c: self.flip(c / "manifest.txt"),
            "cut": lambda c: os.truncate(c / "rank_00000.h5", 1000),
            "missing": lambda c: (c / "rank_00000.h5").unlink(),
            "no manifest": lambda c: (c / "manifest.txt").unlink(),
            "swapped": lambda c: (c / "rank_00000.h5").write_bytes(
                (c.parent / "step_00000006" / "rank_00000.h5").read_bytes()),
        }
        for name, change in changes.items():
            with self.subTest(name):
                harness.shutil.rmtree(self.folder / "run", ignore_errors=True)
                newest = self.damaged(change)
                expected = expected or harness.losses(self.folder / "run")
                verified = self.command("--verify", newest, expect=CHECKPOINT)
                self.says(verified.err, "step_00000008")
                self.run_program("run")
                self.says(self.log("run"), "skipped step_00000008", "going on after step 6")
                self.assert_steps_once("run", 8)
                self.assertEqual(harness.losses(self.folder / "run"), expected)
                self.says(self.command("--verify", newest).out, "step 8", "valid")

    def test_bit_flipped_on_the_way_to_the_disk(self):
        self.run_program("calm", ranks=2)
        self.run_program("run", ranks=2, expect=harness.KILLED,
                         fault="rank=1;at=checkpoint:6.write:1;do=bitflip,"
                               "rank=0;at=step:8.forward;do=kill9")
        self.run_program("run", ranks=2)
        self.says(self.log("run"), "skipped step_00000006", "going on after step 4")
        self.assert_steps_once("run", 8)
        self.assert_same_state("run", "calm", 8)

    def test_with_nothing_left_to_take(self):
        self.run_program("run")
        for step in checkpoints(self.folder / "run"):
            self.flip(harness.checkpoint_path(self.folder / "run", step) / "rank_00000.h5")
        result = self.run_program("run", ranks=2, expect=CHECKPOINT)
        self.says(result.err, "none of the 2 checkpoints", "step_00000006", "step_00000008")

    def test_hostile_state_file_is_never_opened(self):
        """The loader takes rank files alone; a state.h5 that is gone only fails its digest."""
        self.run_program("run")
        (harness.checkpoint_path(self.folder / "run", 8) / "state.h5").write_bytes(b"\x89HDF junk")
        self.run_program("run")
        self.says(self.log("run"), "skipped step_00000008")


class RunDirectory(harness.RunTest):
    def test_two_jobs(self):
        first = self.start("run", "training.steps=1000000", "checkpoint.every=never", ranks=2)
        while not (self.folder / "run" / "metrics.jsonl").exists():
            self.assertIsNone(first.process.poll(), "the first job ended")
            time.sleep(0.02)
        second = self.run_program("run", ranks=2, expect=RUN_DIRECTORY)
        self.says(second.err, "is in use by process", "output=")
        self.assertIsNone(first.process.poll(), "the second job ended the first")
        self.assertFalse((self.folder / "run" / "exit.yaml").exists(),
                         "the second job wrote into the first one's directory")
        first.signal_ranks(signal.SIGUSR1)
        self.check(first.wait(), harness.STOPPED)

    def test_that_is_no_directory(self):
        (self.folder / "file").write_text("")
        result = self.run_program("file/run", expect=RUN_DIRECTORY)
        self.says(result.err, str(self.folder / "file"), "not a folder")

    @unittest.skipIf(os.geteuid() == 0 and not Path("/sys/kernel/security").exists(),
                     "root writes anywhere")
    def test_that_cannot_be_written(self):
        if os.geteuid() == 0:
            result = self.run_program("/sys/kernel/security/run", expect=RUN_DIRECTORY)
            self.says(result.err, "/sys/kernel/security/run")
            return
        (self.folder / "run").mkdir(mode=0o500)
        self.says(self.run_program("run", expect=RUN_DIRECTORY).err, "run", "Permission denied")

    def test_links_lead_nowhere(self):
        """Nothing outside the run directory is written, through whatever name."""
        outside = self.folder / "outside"
        outside.mkdir()
        (outside / "precious").write_text("precious")
        run = self.folder / "run"
        (run / "checkpoints").mkdir(parents=True)
        for name in ("plan.yaml", "config.yaml", "exit.yaml", "restarts", "metrics.jsonl"):
            (run / name).symlink_to(outside / "precious")
        (run / "checkpoints" / "step_00000002.tmp").symlink_to(outside)
        self.run_program("run", expect=(DONE, RUN_DIRECTORY, IO))
        self.assertEqual((outside / "precious").read_text(), "precious")
        self.assertEqual([p.name for p in outside.iterdir()], ["precious"])


    def test_escape_codes_in_its_name_reach_no_terminal(self):
        """Refused, or shown escaped: neither the log nor stderr gets the codes."""
        name = "a\x1b[31m\nalpa: all is well"
        result = self.start(name).wait()
        self.check(result, {DONE, RUN_DIRECTORY, harness.CONFIGURATION})
        log = self.folder / name / "log.txt"
        text = result.err + (log.read_text() if log.exists() else "")
        second = self.start("run", "--resume", "nowhere\x1b[31m").wait()
        self.check(second, harness.INPUT_MISSING)
        self.says(second.err, "nowhere")
        for shown in (text, second.err):
            self.assertNotIn("\x1b[31m", shown)
            self.assertNotIn("\nalpa: all is well", shown)


class Streams(harness.RunTest):
    def test_closed_stdout(self):
        words = [harness.PROGRAM, "small.yaml", "output=run"]
        job = harness.Job([], cwd=self.folder, command=["sh", "-c", 'exec "$@" >&-', "sh", *words])
        self.check(job.wait(), DONE)
        self.assert_steps_once("run", 8)
        self.says(self.log("run"), "stdout is closed", "step 8/8")

    def test_full_stdout(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            job = self.start("run", stdout=full)
            self.check(job.wait(), DONE)
        self.assert_steps_once("run", 8)

    def test_reader_that_leaves(self):
        command = f"{harness.PROGRAM} small.yaml output=run | head -1 > /dev/null; exit ${{PIPESTATUS[0]}}"
        self.assertEqual(subprocess.run(["bash", "-c", command], cwd=self.folder, timeout=60,
                                        check=False).returncode, DONE)
        self.assert_steps_once("run", 8)


if __name__ == "__main__":
    harness.main()
