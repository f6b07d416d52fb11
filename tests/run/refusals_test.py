"""Mistakes of a user: named with place, found and expected, before anything is touched."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import BAD_DATA, CONFIGURATION, DONE, INPUT_MISSING, NO_PLAN, SOURCE, USAGE


def ids(values, width=2):
    return b"".join(int(v).to_bytes(width, "little") for v in values)


class CommandLine(harness.RunTest):
    def test_unknown_options_and_words(self):
        for arguments, parts in (
                (["--resum", "none"], ["unknown option --resum", "did you mean --resume"]),
                (["--frobnicate"], ["unknown option --frobnicate"]),
                ([], ["expected CONFIG.yaml"]),
                ([self.small, "steps"], ["found 'steps'", "section.key=value"]),
                ([self.small, "--export-ilp"], ["--export-ilp"]),
                ([self.small, "--export-ilp", "ilp", "parallel.method=data"], ["by hand", "--compare"]),
                ([self.small, "--plan"], ["--plan"])):
            with self.subTest(arguments=arguments):
                self.says(self.command(*arguments, expect=USAGE).err, *parts)

    def test_malformed_fault(self):
        result = self.run_program("run", fault="rank=1;at=nowhere;do=kill9", expect=USAGE)
        self.says(result.err, "ALPA_FAULT", "at=nowhere", "expected")

    def test_help(self):
        self.says(self.command("--help").out, "CONFIG.yaml", "--resume", "Exit codes", "93")
        self.says(self.command("--help", "training").out, "global_batch", "watchdog", "fp64")
        for section in ("model", "data", "optimizer", "parallel", "cluster", "checkpoint",
                        "logging", "model.layers"):
            with self.subTest(section=section):
                self.assertGreater(len(self.command("--help", section).out), 20)
        self.says(self.command("--help", "trainning", expect={USAGE, CONFIGURATION}).err,
                  "training")

    def test_version(self):
        self.assertRegex(self.command("--version").out, r"^alpa_train \d+\.\d+\.\d+")

    def test_commands_start_no_mpi_where_mpirun_cannot(self):
        """One launcher's variable is set, as inside an sbatch script; MPI_Init would fail there."""
        inside = {"SLURM_JOB_ID": "1", "SLURM_JOBID": "1", "SLURM_NTASKS": "4"}
        for arguments in (["--version"], ["--help"], [self.small, "--print-config"],
                          [self.small, "--check"], [self.small, "--plan-only", "output=run"]):
            with self.subTest(arguments=arguments[-1]):
                self.command(*arguments, environment=inside)


class Configuration(harness.RunTest):
    def test_print_config_reads_back_equal(self):
        first = self.command(self.small, "training.steps=77", "--print-config").out
        self.assertIn("steps: 77", first)
        (self.folder / "again.yaml").write_text(first)
        self.assertEqual(self.command("again.yaml", "--print-config").out, first)

    def test_every_mistake_is_listed_and_nothing_touched(self):
        bad = self.folder / "bad.yaml"
        bad.write_text(self.config.replace("dropout: 0.1", "dropot: 0.1")
                       .replace("steps: 8", "steps: yes").replace("name: adamw", "name: adamm"))
        for ranks in (None, 2):
            with self.subTest(ranks=ranks):
                result = self.run_program("run", config=bad, ranks=ranks, expect=CONFIGURATION)
                for key, near in (("dropot", "dropout"), ("training.steps", "expected"),
                                  ("optimizer.name", "adamw")):
                    line = next(l for l in result.err.splitlines() if key in l)
                    self.assertRegex(line, r"bad\.yaml:\d+:\d+")
                    self.assertIn(near, line)
                self.assertFalse((self.folder / "run").exists())

    def test_missing_file(self):
        result = self.run_program("run", config="nothing.yaml", expect={INPUT_MISSING, CONFIGURATION})
        self.says(result.err, "nothing.yaml", "No such file")

    def test_sizes_that_do_not_divide(self):
        for change, parts in (
                (["parallel.microbatches=3"], ["parallel.microbatches", "3", "8"]),
                (["model.heads=3"], ["heads"]),
                (["parallel.method=megatron", "parallel.tensor=3", "parallel.pipeline=1"], ["3"])):
            with self.subTest(change=change):
                result = self.run_program("run", *change, ranks=2, expect=CONFIGURATION)
                self.says(result.err, *parts)

    def test_more_ranks_than_the_method_can_use(self):
        for method, ranks in (("data", 3), ("pipedream", 8)):
            with self.subTest(method=method):
                result = self.run_program("run", f"parallel.method={method}",
                                          "training.global_batch=2", ranks=ranks,
                                          expect={NO_PLAN, CONFIGURATION})
                self.says(result.err, str(ranks))


class Data(harness.RunTest):
    TOKENS = "data={source: tokens, tokens: {files: [ids.bin]}, held_out: 0.1}"

    def test_missing(self):
        for data in ("data={source: text, text: [nowhere]}", self.TOKENS,
                     "data={source: hdf5, hdf5: {files: [nowhere.h5], dataset: tokens}}"):
            with self.subTest(data=data):
                result = self.run_program("run", data, "model.vocabulary=256", ranks=2,
                                          expect=INPUT_MISSING)
                self.says(result.err, "No such file", "rank 0", "host")
                self.command(self.small, "model.vocabulary=256", data, "--check",
                             expect=INPUT_MISSING)

    def test_id_outside_the_vocabulary(self):
        (self.folder / "ids.bin").write_bytes(ids([*range(30)] * 20 + [32] + [1] * 50))
        result = self.run_program("run", self.TOKENS, ranks=2, expect=BAD_DATA)
        self.says(result.err, "ids.bin", "token 600 is 32", "[0, 32)")

    def test_cut_inside_an_id(self):
        (self.folder / "ids.bin").write_bytes(ids([*range(30)] * 20) + b"\0")
        result = self.run_program("run", self.TOKENS, ranks=2, expect=BAD_DATA)
        self.says(result.err, "ids.bin", "after 600 tokens", "truncated")

    def test_too_little(self):
        (self.folder / "ids.bin").write_bytes(ids(range(9)))
        result = self.run_program("run", self.TOKENS, ranks=2, expect=BAD_DATA)
        self.says(result.err, "9 tokens", "sequence")
        (self.folder / "ids.bin").write_bytes(b"")
        self.run_program("run", self.TOKENS, expect=BAD_DATA)

    def test_hdf5(self):
        try:
            import h5py
        except ImportError:
            self.skipTest("h5py is missing")
        data = "data={source: hdf5, hdf5: {files: [ids.h5], dataset: tokens}, held_out: 0.1}"
        for values, expect, parts in (([*range(32)] * 40, DONE, []),
                                      ([*range(32)] * 40 + [-1], BAD_DATA, ["token 1280 is -1"])):
            with h5py.File(self.folder / "ids.h5", "w") as file:
                file.create_dataset("tokens", data=values, dtype="i4")
            result = self.run_program(f"run{expect}", data, expect={expect, BAD_DATA})
            if result.code != DONE:
                self.says(result.err, "ids.h5", *parts)
        (self.folder / "ids.h5").write_bytes((self.folder / "ids.h5").read_bytes()[:900])
        self.says(self.run_program("cut", data, expect=BAD_DATA).err, "ids.h5")

    def test_link_in_a_text_folder_is_not_followed(self):
        (self.folder / "text").mkdir()
        (self.folder / "text" / "a").write_text("a text of some length " * 50)
        (self.folder / "text" / "loop").symlink_to(self.folder / "text")
        self.run_program("run", "data={source: text, text: [text], held_out: 0.1}",
                         "model.vocabulary=256")


class Plans(harness.RunTest):
    def test_plan_only_then_that_plan(self):
        plan = self.folder / "p" / "plan.yaml"
        cluster = self.folder / "cluster.yaml"
        result = self.command(self.small, "parallel.method=zero2", "output=p", "--plan-only")
        self.says(result.out, "plan: zero2, 1 rank", str(Path("p") / "plan.yaml"))
        self.assertFalse((self.folder / "p" / "metrics.jsonl").exists())
        self.run_program("one", "--plan", plan)
        wrong = self.run_program("two", "--plan", plan, ranks=2, expect=CONFIGURATION)
        self.says(wrong.err, "the plan is for 1 ranks, found 2")
        self.run_program("calm")
        self.assertEqual(harness.losses(self.folder / "one"), harness.losses(self.folder / "calm"))
        other = self.run_program("other", "model.hidden=32", "--plan", plan, expect=CONFIGURATION)
        self.says(other.err, "another model")
        plan.write_text(plan.read_text()[:500])
        self.says(self.run_program("cut", "--plan", plan, expect=CONFIGURATION).err, "plan.yaml")
        self.run_program("none", "--plan", "nowhere.yaml", expect={INPUT_MISSING, CONFIGURATION})

    def test_larger_than_memory(self):
        """Need and have per class, and what would fit does fit."""
        limit = "parallel.memory_limit=500KiB"
        result = self.run_program("run", limit, ranks=2, expect=NO_PLAN)
        self.says(result.err, "no plan fits", "needs", "it has 500 KiB", "too little", "parameters",
                  "gradients", "optimizer", "stash")
        change = re.search(r"would fit: (\S+)", result.err)
        self.assertTrue(change, result.err)
        self.run_program("run", limit, change.group(1), ranks=2)
        self.assertLessEqual(harness.rank_records(self.folder / "run")[0]["memory"]["total"],
                             500 * 1024)
        self.command(self.small, "parallel.memory_limit=100KiB", "--check", expect=NO_PLAN)


class DifferentRanks(harness.RunTest):
    def test_other_arguments_on_a_rank(self):
        """mpirun's application contexts: rank 1 gets another seed."""
        common = [harness.PROGRAM, str(self.small), f"output={self.folder / 'run'}"]
        result = self.launch([*common, ":", "-np", "1", *common, "training.seed=5"])
        self.check(result, CONFIGURATION)
        self.says(result.err, "command line of rank 1", "differs")

    def test_other_program_on_a_rank(self):
        other = self.folder / "other"
        other.write_bytes(Path(harness.PROGRAM).read_bytes() + b"\0")
        other.chmod(0o755)
        common = [str(self.small), f"output={self.folder / 'run'}"]
        result = self.launch([harness.PROGRAM, *common, ":", "-np", "1", str(other), *common])
        self.check(result, CONFIGURATION)
        self.says(result.err, "program of rank 1", "differs")

    def launch(self, words):
        """mpirun with several programs: all words after `-np 1` are the caller's."""
        return harness.Job([], cwd=self.folder, command=[harness.MPIRUN, "-np", "1", *words]).wait()


if __name__ == "__main__":
    harness.main()
