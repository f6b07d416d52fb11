"""Data as a user has it: the same training under every plan, mistakes told, metrics that follow."""

import math
import random
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import BAD_DATA, CONFIGURATION, INPUT_MISSING

CONFIG = """\
model: {preset: mlp, features: 3072, layers: 1, hidden: 8}
data: {source: images, images: {files: [cifar], augmentation: {crop: 2, flip: true}}}
training: {steps: 6, global_batch: 8, precision: fp64, seed: 1, evaluate: {every: 3}}
optimizer: {name: momentum, learning_rate: 0.01}
parallel: {method: data}
"""


def cifar(count, seed, classes=10):
    """Records of a label and 3 x 32 x 32 bytes whose brightness tells the label."""
    draw = random.Random(seed)
    records = bytearray()
    for _ in range(count):
        label = draw.randrange(classes)
        records += bytes([label])
        records += bytes(min(255, 20 * label + b % 64) for b in draw.randbytes(3072))
    return bytes(records)


def put_idx(folder, part, count, side=8, labels=None):
    draw = random.Random(count)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(
        struct.pack(">4I", 0x803, count, side, side) + draw.randbytes(count * side * side))
    labels = [i % 10 for i in range(count)] if labels is None else labels
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(
        struct.pack(">2I", 0x801, len(labels)) + bytes(labels))


class Images(harness.RunTest):
    config = CONFIG

    def setUp(self):
        super().setUp()
        self.cifar = self.folder / "cifar"
        self.cifar.mkdir()
        (self.cifar / "data_batch_1.bin").write_bytes(cifar(20, 1))
        (self.cifar / "data_batch_2.bin").write_bytes(cifar(10, 2))
        (self.cifar / "test_batch.bin").write_bytes(cifar(11, 3))
        (self.cifar / "readme.html").write_text("not an image")

    def metrics_of(self, run):
        return harness.metrics(self.folder / run)

    def evaluations(self, run):
        return [line["eval_loss"] for line in self.metrics_of(run) if "eval_loss" in line]

    def test_plans_see_the_same_pixels(self):
        self.run_program("one")
        plans = ((2, []), (4, ["parallel.method=zero2"]),
                 (2, ["parallel.method=megatron", "parallel.tensor=2", "parallel.data=1",
                      "parallel.pipeline=1"]),
                 (1, ["parallel.microbatches=4"]))
        for i, (ranks, arguments) in enumerate(plans):
            with self.subTest(ranks=ranks, arguments=arguments):
                self.run_program(f"plan{i}", *arguments, ranks=ranks)
                self.assert_close(harness.losses(self.folder / f"plan{i}"),
                                  harness.losses(self.folder / "one"), 1e-9, "loss")
                self.assert_close(self.evaluations(f"plan{i}"), self.evaluations("one"), 1e-9)
                self.assertEqual([line["accuracy"] for line in self.metrics_of(f"plan{i}")],
                                 [line["accuracy"] for line in self.metrics_of("one")])

    def test_a_resumed_run_goes_on_with_the_same_pixels(self):
        self.run_program("calm", "training.steps=8")
        self.run_program("run", "training.steps=5", "checkpoint.every=5")
        self.run_program("run", "training.steps=8")
        self.assert_close(harness.losses(self.folder / "run")[5:],
                          harness.losses(self.folder / "calm")[5:], 1e-9)

    def test_augmentation_changes_training_alone(self):
        off = "data.images.augmentation={crop: 0, flip: false}"
        self.run_program("run", "training.steps=1", "training.evaluate.every=1")
        self.run_program("plain", off, "training.steps=1", "training.evaluate.every=1")
        self.assertNotEqual(harness.losses(self.folder / "run"),
                            harness.losses(self.folder / "plain"))

    def test_other_formats(self):
        folder = self.folder / "mnist"
        folder.mkdir()
        put_idx(folder, "train", 30)
        put_idx(folder, "t10k", 9)
        self.run_program("idx", "data.images={files: [mnist]}", "model.features=64", ranks=2)
        self.assertEqual(len(self.evaluations("idx")), 2)

    def test_free_model_of_images(self):
        (self.folder / "free.yaml").write_text("""\
model:
  preset: custom
  inputs: {images: {shape: [32, 32, 3]}}
  layers:
    - convolution: {out: 4, activation: relu}
    - global_average_pool
    - linear: {out: 10}
data: {source: images, images: {files: [cifar]}}
training: {steps: 2, global_batch: 4, precision: fp64, evaluate: {every: never}}
parallel: {method: data}
""")
        self.run_program("one", config="free.yaml")
        self.run_program("two", config="free.yaml", ranks=2)
        self.assert_close(harness.losses(self.folder / "two"), harness.losses(self.folder / "one"),
                          1e-9)

    def test_synthetic(self):
        self.run_program("run", "data={source: synthetic, synthetic: {kind: images, image: 8}}",
                         "model.features=192", "model.layers=0", "training.steps=60",
                         "optimizer.learning_rate=0.1")
        losses = harness.losses(self.folder / "run")
        self.assertLess(losses[-1], 0.3 * losses[0])


class BadImages(harness.RunTest):
    config = CONFIG

    def refused(self, code, *parts, change=(), data=None):
        arguments = ["data.images.files=[cifar]", *change]
        if data is not None:
            (self.folder / "cifar").write_bytes(data)
        self.says(self.run_program("run", *arguments, ranks=2, expect=code).err, *parts)

    def test_missing(self):
        self.refused(INPUT_MISSING, "cifar", "No such file")

    def test_cut(self):
        self.refused(BAD_DATA, "cifar: has 6145 bytes, expected a multiple of 3073",
                     change=["data.images.format=cifar10"], data=cifar(2, 1)[:-1])

    def test_packed(self):
        self.refused(BAD_DATA, "cifar: is compressed by gzip", "gunzip", data=b"\x1f\x8b" * 100)

    def test_label(self):
        self.refused(BAD_DATA, "cifar: the label of image 1 is 7, expected one in [0, 5)",
                     change=["model.classes=5"], data=b"\0" * 3073 + b"\7" + b"\0" * 3072)

    def test_side(self):
        folder = self.folder / "mnist"
        folder.mkdir()
        put_idx(folder, "train", 30)
        self.refused(BAD_DATA, "expected features [3072]", "gives", "images [8,8,1]",
                     change=["data.images.files=[mnist]"])
        self.refused(BAD_DATA, "found images of [height, width, channels] = [8, 8, 1]",
                     "expected [32, 32, 3]",
                     change=["data.images.files=[mnist]", "data.images.shape=[32, 32, 3]"])

    def test_labels_of_other_number(self):
        folder = self.folder / "mnist"
        folder.mkdir()
        put_idx(folder, "train", 30, labels=[1] * 29)
        self.refused(BAD_DATA, "train-labels-idx1-ubyte: byte 4: found 29 labels, expected 30",
                     change=["data.images.files=[mnist]"])

    def test_model_of_tokens(self):
        self.refused(CONFIGURATION, "data.source: found images, expected text",
                     change=["model={preset: gpt}"])


class TokenRules(harness.RunTest):
    def put_ids(self, ids):
        (self.folder / "ids.bin").write_bytes(struct.pack(f"<{len(ids)}H", *ids))

    def test_ignored_labels_do_not_count(self):
        """Where every label is ignored there is nothing to learn."""
        self.put_ids([3] * 400)
        data = "data={source: tokens, tokens: {files: [ids.bin]}, ignore_label: 3}"
        result = self.run_program("run", data, "training.steps=2", "training.evaluate.every=never")
        self.assertEqual(harness.losses(self.folder / "run"), [0.0, 0.0], result.text)

    def test_plans_see_the_same_masks_and_documents(self):
        draw = random.Random(1)
        self.put_ids([draw.randrange(31) for _ in range(900)])
        data = ("data={source: tokens, tokens: {files: [ids.bin]}, end_of_document: 5,"
                " masking: {probability: 0.3}}")
        model = ("model={preset: bert, layers: 2, hidden: 16, heads: 2, sequence: 8, vocabulary: 32,"
                 " dropout: 0.0}")
        self.run_program("one", data, model)
        for i, (ranks, method) in enumerate(((2, "data"), (4, "zero2"))):
            self.run_program(f"plan{i}", data, model, f"parallel.method={method}", ranks=ranks)
            self.assert_close(harness.losses(self.folder / f"plan{i}"),
                              harness.losses(self.folder / "one"), 1e-9, "loss")
        last = harness.metrics(self.folder / "one")[-1]
        self.assertNotIn("eval_bits_per_byte", last)
        self.assertIn("eval_accuracy", last)


    def test_free_model_of_tokens(self):
        self.put_ids([i % 7 for i in range(500)])
        (self.folder / "free.yaml").write_text("""\
model:
  preset: custom
  inputs: {tokens: {shape: [8], type: integer}}
  layers:
    - embedding: {vocabulary: 10, out: 16}
    - linear: {out: 10}
data: {source: tokens, tokens: {files: [ids.bin]}, end_of_document: 6}
training: {steps: 60, global_batch: 8}
optimizer: {learning_rate: 0.05}
parallel: {method: data}
""")
        self.run_program("run", config="free.yaml", ranks=2)
        last = harness.metrics(self.folder / "run")[-1]
        self.assertGreater(last["eval_accuracy"], 0.99)  # 0 follows 6 only across documents
        self.assertLess(last["eval_perplexity"], 1.1)


class Metrics(harness.RunTest):
    def test_evaluations_on_a_schedule_and_at_the_end(self):
        result = self.run_program("run", "training.evaluate.every=3")
        lines = harness.metrics(self.folder / "run")
        self.assertEqual([line["step"] for line in lines if "eval_loss" in line], [3, 6, 8])
        for line in lines:
            self.assertTrue(0 <= line["accuracy"] <= 1)
            if "eval_loss" in line:
                self.assertTrue(0 <= line["eval_accuracy"] <= 1)
                self.assertTrue(math.isclose(line["eval_perplexity"], math.exp(line["eval_loss"])))
                self.assertNotIn("eval_bits_per_byte", line)
        self.says(result.out, "evaluation after step 8: loss", "perplexity")

    def test_text_has_bits_per_byte(self):
        (self.folder / "text").write_text("a rose is a rose is a rose. " * 100)
        self.run_program("run", "data={source: text, text: [text], held_out: 0.1}",
                         "model.vocabulary=256", ranks=2)
        last = harness.metrics(self.folder / "run")[-1]
        self.assertTrue(math.isclose(last["eval_bits_per_byte"],
                                     last["eval_loss"] / math.log(2)))

    def test_smoothed_loss_has_no_perplexity(self):
        self.run_program("run", "training.label_smoothing=0.1")
        last = harness.metrics(self.folder / "run")[-1]
        self.assertIn("eval_accuracy", last)
        self.assertNotIn("eval_perplexity", last)

    def test_accuracy_of_a_model_that_has_learned(self):
        self.run_program("run", "model={preset: mlp, features: 20, classes: 4, layers: 1,"
                         " hidden: 16}", "data={source: synthetic}", "training.steps=60",
                         "training.evaluate.samples=200", ranks=2)
        last = harness.metrics(self.folder / "run")[-1]
        self.assertGreater(last["eval_accuracy"], 0.9)


if __name__ == "__main__":
    harness.main()
