"""Parameters to and from safetensors files, which are read here by hand."""

import json
import math
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
import harness
from harness import CHECKPOINT, CONFIGURATION, INPUT_MISSING


def read_file(path):
    """{name: (dtype, shape, bytes)} and the metadata."""
    content = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + length])
    metadata = header.pop("__metadata__", {})
    data = content[8 + length:]
    return {name: (t["dtype"], t["shape"], data[t["data_offsets"][0]:t["data_offsets"][1]])
            for name, t in header.items()}, metadata


def write_file(path, tensors):
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


class Interchange(harness.RunTest):
    def export(self, run, name, *arguments, **options):
        path = self.folder / name
        self.command(self.small, f"output={self.folder / run}", *arguments, "--export", path,
                     **options)
        return path

    def first_loss(self, run, *arguments, **options):
        self.run_program(run, "training.steps=1", *arguments, **options)
        return harness.losses(self.folder / run)[0]

    def test_names_and_shapes_are_those_of_gpt2(self):
        self.run_program("run", "training.steps=1")
        tensors, metadata = read_file(self.export("run", "a.safetensors"))
        self.assertEqual(metadata, {"format": "pt", "step": "1"})
        shapes = {name: shape for name, (_, shape, _) in tensors.items()}
        self.assertEqual(len(tensors), 4 + 12 * 4)
        for name, shape in (("wte.weight", [32, 16]), ("wpe.weight", [8, 16]),
                            ("h.3.ln_1.bias", [16]), ("h.0.attn.c_attn.weight", [16, 48]),
                            ("h.0.attn.c_attn.bias", [48]), ("h.0.attn.c_proj.weight", [16, 16]),
                            ("h.2.mlp.c_fc.weight", [16, 64]), ("h.2.mlp.c_proj.weight", [64, 16]),
                            ("ln_f.weight", [16])):
            self.assertEqual(shapes[name], shape, name)
        self.assertEqual({t[0] for t in tensors.values()}, {"F64"})

    def test_there_and_back_keeps_every_bit_under_any_plan(self):
        self.run_program("run", "parallel.method=zero3", ranks=2)
        first = self.export("run", "a.safetensors")
        plans = ((None, []), (2, ["parallel.method=zero3"]),
                 (4, ["parallel.method=megatron", "parallel.tensor=2", "parallel.pipeline=2",
                      "parallel.data=1"]))
        for i, (ranks, arguments) in enumerate(plans):
            with self.subTest(arguments=arguments):
                # A rate of almost nothing moves parameters by less than their last bit.
                self.run_program(f"from{i}", f"checkpoint.init_from={first}", "training.steps=1",
                                 "optimizer={name: sgd, learning_rate: 1.0e-300}", *arguments,
                                 ranks=ranks)
                again = self.export(f"from{i}", f"b{i}.safetensors",
                                    "optimizer={name: sgd, learning_rate: 1.0e-300}")
                self.assertEqual(read_file(first)[0], read_file(again)[0])

    def test_checkpoints_and_files_start_alike(self):
        self.run_program("run")
        path = self.export("run", "a.safetensors")
        own = self.first_loss("own")
        from_file = self.first_loss("file", f"checkpoint.init_from={path}")
        for i, directory in enumerate(("run", "run/checkpoints/step_00000008")):
            source = self.folder / directory
            self.assertEqual(self.first_loss(f"c{i}", f"checkpoint.init_from={source}"), from_file)
        self.assertNotEqual(own, from_file)
        # `--resume DIR` names the checkpoint to export.
        older = self.folder / "older.safetensors"
        self.command(self.small, "output=nowhere", "--resume", self.folder / "run", "--export",
                     older)
        self.assertEqual(older.read_bytes(), path.read_bytes())

    def test_other_types_are_converted(self):
        self.run_program("run")
        tensors, _ = read_file(self.export("run", "a.safetensors"))
        single, brain = {}, {}
        for name, (_, shape, content) in tensors.items():
            values = struct.unpack(f"<{len(content) // 8}d", content)
            floats = struct.pack(f"<{len(values)}f", *values)
            single["transformer." + name] = ("F32", shape, floats)
            brain[name] = ("BF16", shape,
                           b"".join(floats[i + 2:i + 4] for i in range(0, len(floats), 4)))
        brain["h.0.attn.bias"] = ("U8", [1, 1, 2, 2], bytes(4))  # GPT-2's mask is passed over
        write_file(self.folder / "single.st", single)
        write_file(self.folder / "brain.st", brain)
        exact = self.first_loss("exact", f"checkpoint.init_from={self.folder / 'a.safetensors'}")
        for name, close in (("single", 1e-6), ("brain", 3e-2)):
            loss = self.first_loss(name, f"checkpoint.init_from={self.folder / name}.st")
            self.assertNotEqual(loss, exact)
            self.assertTrue(math.isclose(loss, exact, rel_tol=close), (name, loss, exact))
        fp32 = self.first_loss("fp32", "training.precision=fp32",
                               f"checkpoint.init_from={self.folder / 'single.st'}")
        self.assertTrue(math.isclose(fp32, exact, rel_tol=1e-5), (fp32, exact))

    def test_other_models_have_our_names(self):
        mlp = ["model={preset: mlp, features: 6, layers: 1, hidden: 4, classes: 3}",
               "data={source: synthetic}", "training.steps=2"]
        self.run_program("mlp", *mlp)
        path = self.export("mlp", "mlp.safetensors", *mlp)
        tensors, _ = read_file(path)
        self.assertIn([6, 4], [shape for _, shape, _ in tensors.values()])
        self.run_program("again", *mlp, f"checkpoint.init_from={path}", ranks=2)

    def test_llama_has_its_own_names_and_transposed_weights(self):
        model = ("model={preset: llama, layers: 2, hidden: 16, heads: 4, key_value_heads: 2,"
                 " feed_forward: 24, vocabulary: 32, sequence: 8}")
        self.run_program("run", model, "training.steps=2")
        path = self.export("run", "a.safetensors", model)
        tensors, _ = read_file(path)
        shapes = {name: shape for name, (_, shape, _) in tensors.items()}
        self.assertEqual(len(tensors), 3 + 9 * 2)
        layer = "model.layers.1."
        for name, shape in (("model.embed_tokens.weight", [32, 16]), ("model.norm.weight", [16]),
                            ("lm_head.weight", [32, 16]),
                            (layer + "input_layernorm.weight", [16]),
                            (layer + "self_attn.q_proj.weight", [16, 16]),
                            (layer + "self_attn.k_proj.weight", [8, 16]),
                            (layer + "self_attn.v_proj.weight", [8, 16]),
                            (layer + "self_attn.o_proj.weight", [16, 16]),
                            (layer + "mlp.gate_proj.weight", [24, 16]),
                            (layer + "mlp.down_proj.weight", [16, 24])):
            self.assertEqual(shapes[name], shape, name)
        # Column i of q_proj, as a row of ours, is one input: h5py sees ours whole.
        ours = harness.state(self.folder / "run", 2)
        query = ours["layers.1.attention.query.weight"].reshape(16, 16)
        theirs = struct.unpack("<256d", tensors[layer + "self_attn.q_proj.weight"][2])
        for i in range(16):
            for o in range(16):
                self.assertEqual(theirs[16 * o + i], query[i, o])
        still = "optimizer={name: sgd, learning_rate: 1.0e-300}"
        self.run_program("again", model, f"checkpoint.init_from={path}", "training.steps=1", still,
                         "parallel.method=zero3", ranks=2)
        again = self.export("again", "b.safetensors", model, still)
        self.assertEqual(read_file(again)[0], tensors)

    def test_differences_are_listed_in_one_error(self):
        self.run_program("run", "training.steps=1")
        path = self.export("run", "a.safetensors")
        result = self.run_program("bad", f"checkpoint.init_from={path}", "model.layers=3",
                                  "model.sequence=4", ranks=2, expect=CHECKPOINT)
        self.says(result.err, "a.safetensors: its parameters are not those of the model",
                  "wpe.weight: found [8,16], expected [4,16]",
                  "not in the model: h.3.ln_1.weight [16]")
        result = self.run_program("bad", f"checkpoint.init_from={path}", "model.layers=5",
                                  expect=CHECKPOINT)
        self.says(result.err, "missing: h.4.attn.c_attn.weight [16,48]")
        result = self.run_program("bad", f"checkpoint.init_from={self.folder / 'run'}",
                                  "model.layers=3", expect=CHECKPOINT)
        self.says(result.err, "not in the model: layers.3.norm1.weight [16]")

    def test_bad_files(self):
        bad = self.folder / "bad.safetensors"
        start = f"checkpoint.init_from={bad}"
        self.says(self.run_program("run", start, expect=INPUT_MISSING).err, "bad.safetensors",
                  "No such file")
        bad.write_bytes(b"\xff" * 64)
        self.says(self.run_program("run", start, ranks=2, expect=CHECKPOINT).err,
                  "bad.safetensors: declares a header of")
        write_file(bad, {"wte.weight": ("I64", [32, 16], bytes(4096))})
        self.says(self.run_program("run", start, expect=CHECKPOINT).err,
                  "wte.weight: found I64, expected F64, F32, BF16 or F16",
                  "missing: wpe.weight [8,16]")
        self.command(self.small, "output=none", "--export", bad, expect=INPUT_MISSING)

    def test_a_resumed_run_keeps_its_own(self):
        for run in ("run", "other"):
            self.run_program(run, "training.steps=2")
        self.run_program("source")
        path = self.export("source", "a.safetensors")
        self.run_program("run", "training.steps=4", f"checkpoint.init_from={path}")
        self.run_program("other", "training.steps=4")
        self.says(self.log("run"), "is left alone")
        self.assertEqual(self.export("run", "b.safetensors").read_bytes(),
                         self.export("other", "c.safetensors").read_bytes())


if __name__ == "__main__":
    harness.main()
