"""Runs the whole program as a user would, and looks at what it leaves behind.

A test script imports this, declares subclasses of `RunTest` and ends with `harness.main()`. The
environment names what is under test: ALPA_TRAIN (the executable) and ALPA_MPIRUN. Only the standard
library is needed; tests that read HDF5 files skip where h5py is missing.
"""

import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import uuid
from dataclasses import dataclass
from pathlib import Path

PROGRAM = os.environ.get("ALPA_TRAIN", "build/alpa_train")
MPIRUN = os.environ.get("ALPA_MPIRUN", "mpirun")
SOURCE = Path(__file__).resolve().parents[2]

# Exit codes of the program (README).
DONE, USAGE, BAD_DATA, INPUT_MISSING, NO_PLAN, BUG, OUT_OF_MEMORY = 0, 64, 65, 66, 69, 70, 71
RUN_DIRECTORY, IO, RANK_LOST, CHECKPOINT, CONFIGURATION, NUMERICS = 73, 74, 75, 76, 78, 79
STOPPED, NO_PROGRESS = 85, 93
KILLED = 137  # mpirun, of a rank that SIGKILL ended

# A transformer that takes milliseconds a step, in the precision in which plans agree to 1e-9.
# Checkpoints are written at once, so that each test knows which ones there are.
SMALL = """\
model: {preset: gpt, layers: 4, hidden: 16, heads: 2, sequence: 8, vocabulary: 32,
        tied_embedding: true, dropout: 0.1}
data: {source: synthetic, synthetic: {kind: tokens}}
training: {steps: 8, global_batch: 8, precision: fp64, seed: 1, clip_norm: 1.0,
           evaluate: {every: never, samples: 8}}
optimizer: {name: adamw, learning_rate: 0.01, schedule: {name: cosine, warmup: 2, final: 0.1}}
parallel: {method: data}
checkpoint: {every: 2, asynchronous: false}
"""

# The speed of this machine is measured once for all tests of a script, and not kept for the user.
CACHE = tempfile.mkdtemp(prefix="alpa-cache-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)


@dataclass
class Result:
    """How a job ended. `seconds` from its start, `leftover` processes that outlived it."""

    code: int
    out: str
    err: str
    seconds: float
    leftover: list

    @property
    def text(self):
        return f"exit code {self.code} after {self.seconds:.1f} s\n{self.out}\n{self.err}"


def processes_of(marker):
    """Pids of living processes that were started with ALPA_TEST_JOB=marker."""
    wanted = f"ALPA_TEST_JOB={marker}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # it has ended meanwhile
            pass
    return found


class Job:
    """A running program: on `ranks` ranks under mpirun, or with None as a plain process. `command`
    takes the place of both."""

    def __init__(self, arguments, ranks=None, fault=None, environment=None, cwd=None,
                 stdout=subprocess.PIPE, command=None):
        self.marker = uuid.uuid4().hex
        variables = {k: v for k, v in os.environ.items()
                     if not k.startswith(("OMPI_COMM_", "PMIX_", "SLURM_", "ALPA_FAULT"))}
        variables.update(OMP_NUM_THREADS="1", XDG_CACHE_HOME=CACHE, ALPA_TEST_JOB=self.marker)
        if fault:
            variables["ALPA_FAULT"] = fault
        variables.update(environment or {})
        launch = [] if ranks is None else [MPIRUN, "-np", str(ranks)]
        command = command or [*launch, PROGRAM, *map(str, arguments)]
        # Files, not pipes: a rank that outlives mpirun would keep a pipe open.
        self.err_file = tempfile.TemporaryFile()
        self.out_file = tempfile.TemporaryFile() if stdout is subprocess.PIPE else None
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, env=variables, cwd=cwd, stdin=subprocess.DEVNULL,
                                        stdout=self.out_file or stdout, stderr=self.err_file)

    def signal_ranks(self, number, wait=0.0):
        """Sends a signal to every rank, as a batch system does; mpirun itself gets none."""
        time.sleep(wait)
        for pid in self.rank_pids():
            os.kill(pid, number)

    def rank_pids(self):
        executable = os.path.realpath(PROGRAM)
        pids = []
        for pid in processes_of(self.marker):
            try:
                if os.path.realpath(f"/proc/{pid}/exe") == executable:
                    pids.append(pid)
            except OSError:
                pass
        return pids

    def wait(self, timeout=60, outlive=2):
        """Until the job ends. Processes that are there `outlive` seconds later are reported, and
        ended."""
        try:
            self.process.wait(timeout)
            expired = False
        except subprocess.TimeoutExpired:
            expired = True
        seconds = time.monotonic() - self.started
        leftover = processes_of(self.marker)
        deadline = time.monotonic() + outlive
        while leftover and not expired and time.monotonic() < deadline:
            time.sleep(0.05)
            leftover = processes_of(self.marker)
        for pid in leftover:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        while leftover and processes_of(self.marker):  # SIGKILL takes its time
            time.sleep(0.01)
        texts = []
        for file in (self.out_file, self.err_file):
            if file is None:
                texts.append("")
                continue
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
            file.close()
        result = Result(self.process.returncode, *texts, seconds, leftover)
        if expired:
            raise AssertionError(f"the job did not end within {timeout} s: {result.text}")
        return result


def metrics(run):
    """The objects of metrics.jsonl in order."""
    with open(Path(run) / "metrics.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def losses(run):
    return [line["loss"] for line in metrics(run)]


def checkpoints(run):
    """Steps of the checkpoints there, in order."""
    folder = Path(run) / "checkpoints"
    return sorted(int(p.name[5:]) for p in folder.iterdir() if re.fullmatch(r"step_\d{8}", p.name))


def checkpoint_path(run, step):
    return Path(run) / "checkpoints" / f"step_{step:08d}"


def state(run, step):
    """All tensors of a checkpoint by name, whole, as h5py sees them in state.h5."""
    try:
        import h5py
    except ImportError as error:
        raise unittest.SkipTest("h5py is missing") from error
    tensors = {}
    with h5py.File(checkpoint_path(run, step) / "state.h5", "r") as file:
        def take(name, item):
            if isinstance(item, h5py.Dataset):
                tensors[name] = item[()]
        file.visititems(take)
    return tensors


def exit_record(run):
    """Code, reason, step and rank at the head of exit.yaml."""
    record = {}
    for line in (Path(run) / "exit.yaml").read_text().splitlines():
        key, colon, value = line.partition(": ")
        if colon and not line.startswith(" "):
            record[key] = json.loads(value) if value.startswith('"') else value
    return record


def rank_records(run):
    """Per rank, the maps of exit.yaml: {'bytes_sent': {...}, 'counts': {...}, 'memory': {...}}."""
    ranks = []
    for line in (Path(run) / "exit.yaml").read_text().splitlines():
        if line.startswith("  - rank: "):
            ranks.append({})
        elif line.startswith("    "):
            key, _, value = line.strip().partition(": ")
            if value.startswith("{"):
                pairs = [p.split(": ") for p in value.strip("{}").split(", ") if p]
                ranks[-1][key] = {k: float(v) for k, v in pairs}
            else:
                ranks[-1][key] = float(value)
    return ranks


class RunTest(unittest.TestCase):
    """A test with a folder of its own, in which the configuration is small.yaml."""

    maxDiff = None
    config = SMALL

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="alpa-run-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.small = self.folder / "small.yaml"
        self.small.write_text(self.config)

    def start(self, run, *arguments, config=None, **options):
        return Job([config or self.small, f"output={self.folder / run}", *arguments],
                   cwd=self.folder, **options)

    def run_program(self, run, *arguments, expect=DONE, timeout=60, **options):
        """Trains into the folder `run`; the job must end with that code and leave no process."""
        result = self.start(run, *arguments, **options).wait(timeout)
        self.check(result, expect)
        return result

    def command(self, *arguments, expect=DONE, timeout=30, **options):
        """The program with just these arguments."""
        result = Job(arguments, cwd=self.folder, **options).wait(timeout)
        self.check(result, expect)
        return result

    def check(self, result, expect):
        codes = expect if isinstance(expect, (tuple, list, set)) else (expect,)
        self.assertIn(result.code, codes, result.text)
        self.assertEqual(result.leftover, [], "processes outlived the job: " + result.text)

    def says(self, text, *parts):
        for part in parts:
            self.assertIn(part, text)

    def log(self, run):
        return (self.folder / run / "log.txt").read_text()

    def assert_steps_once(self, run, steps):
        self.assertEqual([line["step"] for line in metrics(self.folder / run)],
                         list(range(1, steps + 1)))

    def assert_same_state(self, run, other, step):
        """Every tensor of both checkpoints has the same bits."""
        a, b = state(self.folder / run, step), state(self.folder / other, step)
        self.assertEqual(sorted(a), sorted(b))
        differing = [name for name in a if a[name].tobytes() != b[name].tobytes()]
        self.assertEqual(differing, [], f"{run} and {other} differ after step {step}")

    def assert_close(self, found, expected, relative, what=""):
        self.assertEqual(len(found), len(expected), what)
        for i, (a, b) in enumerate(zip(found, expected)):
            self.assertLessEqual(abs(a - b), relative * abs(b), f"{what}[{i}]: {a} and {b}")


def main():
    if not Path(PROGRAM).exists():
        sys.exit(f"harness.py: no program at ALPA_TRAIN={PROGRAM}")
    program = unittest.main(verbosity=2, exit=False)
    skipped = program.result.skipped
    for test, reason in skipped:  # the form in which jobs/test.sh looks for them
        name = test.id().partition(".")[2].replace(" ", "")
        print(f"[  SKIPPED ] {name} ({reason})")
    if not program.result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if program.result.testsRun == len(skipped) else 0)
