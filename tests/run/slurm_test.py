"""jobs/cluster.sbatch on a small Slurm cluster of this host: stopped, requeued, gone on, done."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import SOURCE, metrics

NEEDED = ("sbatch", "scontrol", "srun", "munge")


@unittest.skipUnless(all(map(shutil.which, NEEDED)) and Path("/usr/sbin/slurmd").exists(),
                     "Slurm is not installed")
class Slurm(harness.RunTest):
    config = harness.SMALL.replace("steps: 8,", "steps: 600,").replace("every: 2,", "every: 20,")

    def setUp(self):
        super().setUp()
        self.cluster = self.folder / "cluster"
        tools = SOURCE / "tests/tools"
        self.environment = {**os.environ, "ALPA_TRAIN": os.path.realpath(harness.PROGRAM),
                            "SLURM_CONF": str(self.cluster / "slurm.conf"),
                            "SLURM_TEST_PORT": str(random.randrange(20000, 30000, 50))}
        self.addCleanup(subprocess.run, ["bash", tools / "slurm-stop.sh", self.cluster],
                        stdout=subprocess.DEVNULL, check=False)
        started = subprocess.run(["bash", tools / "slurm-start.sh", self.cluster, "2", "2"],
                                 env=self.environment, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, timeout=60, check=False)
        if started.returncode != 0:
            self.skipTest("the cluster does not start here")

    def call(self, *words):
        done = subprocess.run(words, env=self.environment, cwd=self.folder, timeout=60,
                              check=False, capture_output=True, text=True)
        return done.stdout + done.stderr

    def submit(self, *arguments):
        text = self.call("sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=2",
                         "--cpus-per-task=1", "--time=10", SOURCE / "jobs/cluster.sbatch",
                         "small.yaml", "output=run", *arguments)
        self.job_id = text.strip()
        self.assertTrue(self.job_id.isdigit(), text)

    def job(self):
        """State and restarts as scontrol shows them."""
        fields = dict(word.partition("=")[::2]
                      for word in self.call("scontrol", "show", "job", self.job_id).split())
        return fields.get("JobState"), int(fields.get("Restarts", 0))

    def wait_for(self, condition, seconds, what):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                log = self.folder / f"alpa-{self.job_id}.log"
                self.fail(f"{what}: {self.job()} {log.read_text() if log.exists() else ''}")
            time.sleep(0.1)

    def steps(self):
        file = self.folder / "run" / "metrics.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def check_finished(self, *said):
        self.wait_for(lambda: self.job()[0] in ("COMPLETED", "FAILED", "TIMEOUT"), 90, "no end")
        self.assertEqual(self.job()[0], "COMPLETED")
        self.assert_steps_once("run", 600)
        self.says((self.folder / f"alpa-{self.job_id}.log").read_text(), "start 0", "start 1",
                  "back into the queue", *said)
        self.says(self.log("run"), "going on after step")

    def test_signal_before_the_limit(self):
        self.submit()
        self.wait_for(lambda: self.steps() > 5, 60, "no step")
        self.call("scancel", "--signal=USR1", self.job_id)
        self.wait_for(lambda: self.job()[1] == 1, 60, "not requeued")
        self.check_finished("ended with 85")

    def test_lost_rank(self):
        self.submit()
        self.wait_for(lambda: self.steps() > 45, 60, "no step")
        program = os.path.realpath(harness.PROGRAM)
        mine = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                if self.runs(pid, program)]
        self.assertTrue(mine)
        os.kill(mine[-1], signal.SIGKILL)
        self.wait_for(lambda: self.job()[1] == 1, 60, "not requeued")
        self.check_finished()

    def runs(self, pid, program):
        """Whether it is a rank of this test's job."""
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            return (os.path.realpath(f"/proc/{pid}/exe") == program
                    and f"SLURM_CONF={self.environment['SLURM_CONF']}".encode() in environment)
        except OSError:
            return False


if __name__ == "__main__":
    harness.main()
