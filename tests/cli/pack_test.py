#!/usr/bin/env python3
"""Packed weights through the program: written, found, used, refused; the same answers with and without them."""
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from thimble_cli import CORRUPT, EXHAUSTED, IO, NANO, NOT_FOUND, OK, THIMBLE, USAGE, CliTest, limit_file_size

PROMPT = ["-p", "Meeting at noon with Anna", "-n", "12"]


class Pack(CliTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "nano.gguf"
        self.expect(OK, "quantize", NANO, self.model, "--scheme", "q4_k_m")
        self.cache = self.folder / "cache"
        self.env = {**os.environ, "XDG_CACHE_HOME": str(self.cache)}

    def pack(self, *args, code=OK, **kwargs):
        kwargs.setdefault("env", self.env)
        if code != OK:
            return self.expect(code, "pack", self.model, *args, **kwargs)
        return self.json("pack", self.model, *args, **kwargs)

    def chat(self, *args, code=OK, env=None):
        return self.expect(code, "-v", "--json", "chat", self.model, *PROMPT, *args, env=env or self.env)

    def flip(self, path, at):
        data = bytearray(path.read_bytes())
        data[at] ^= 0x10
        path.write_bytes(data)

    def packed_files(self):
        return [f for f in self.files() if f not in ("nano.gguf", "other.gguf")]

    def test_written_found_used(self):
        states = [p["state"] for p in self.json("inspect", self.model, env=self.env)["packed"]]
        self.assertEqual(states, ["missing", "missing"])
        out = self.pack()
        self.assertEqual(self.packed_files(), [os.path.relpath(out["packed"], self.folder)])
        self.assertTrue(out["packed"].startswith(str(self.cache / "thimble/packed/nano-")))
        self.assertEqual(out["bytes"], os.path.getsize(out["packed"]))
        shown = self.json("inspect", self.model, env=self.env)["packed"]
        self.assertEqual([p["state"] for p in shown], ["missing", "valid"])
        self.assertIn("valid", self.expect(OK, "inspect", self.model, env=self.env).stdout)
        self.assertIn(f"packed weights in {out['packed']}", self.chat().stderr)
        self.assertTrue(self.pack("--verify")["verified"])

    def test_same_answer_without(self):
        self.pack()
        with_packed, without = self.chat(), self.chat("--no-pack")
        self.assertNotIn("packed weights in", without.stderr)
        texts = [json.loads(done.stdout)["text"] for done in (with_packed, without)]
        self.assertTrue(texts[0])
        self.assertEqual(texts[0], texts[1])

    def test_small_models_leave_no_file_by_themselves(self):
        self.chat()
        self.assertEqual(self.packed_files(), [])

    def test_beside_and_named(self):
        beside = self.pack("--beside")["packed"]
        self.assertEqual(os.path.dirname(beside), str(self.folder))
        self.assertIn(beside, self.chat().stderr)
        named = self.folder / "mine"
        self.pack("-o", named)
        self.assertIn(str(named), self.chat("--packed", named).stderr)
        self.pack("-o", self.folder / "none/mine", code=NOT_FOUND)
        self.pack("-o", self.folder, code=IO)
        self.pack("-o", named, "--beside", code=USAGE)

    def test_damaged(self):
        path = self.folder / "mine"
        out = self.pack("-o", path)
        good = path.read_bytes()
        self.flip(path, out["bytes"] - 5000)
        self.assertRegex(self.pack("-o", path, "--verify", code=CORRUPT).stderr, r"mine: tensor '[a-z0-9._]+'")
        for data, code in ((good[:-1], CORRUPT), (good[:100], CORRUPT), (b"", CORRUPT), (good + b"x", CORRUPT)):
            path.write_bytes(data)
            self.assertIn("mine", self.chat("--packed", path, code=code).stderr)
            self.pack("-o", path, "--verify", code=code)
        path.unlink()
        self.chat("--packed", path, code=NOT_FOUND)
        path.mkdir()
        self.chat("--packed", path, code=IO)

    def test_another_model(self):
        path = self.folder / "mine"
        self.pack("-o", path)
        other = self.folder / "other.gguf"
        self.expect(OK, "quantize", NANO, other, "--scheme", "q4_k_s")
        done = self.expect(USAGE, "chat", other, *PROMPT, "--packed", path)
        self.assertIn("made from another model", done.stderr)
        # Beside the wrong model it is not used either, but packed again.
        rows = os.path.basename(self.pack("--beside")["packed"]).removeprefix("nano.gguf")
        wrong = self.folder / f"other.gguf{rows}"
        shutil.copyfile(path, wrong)
        done = self.expect(OK, "-v", "chat", other, *PROMPT, env=self.env)
        self.assertIn("made from another model; not used", done.stderr)
        self.assertNotEqual(wrong.read_bytes(), path.read_bytes())

    def test_touched_model(self):
        out = self.pack()
        os.utime(self.model, (1, 1))
        self.assertEqual(self.json("inspect", self.model, env=self.env)["packed"][1]["state"], "unsettled")
        self.assertIn("comparing contents", self.chat().stderr)
        self.assertNotIn("comparing contents", self.chat().stderr)
        self.assertEqual(self.packed_files(), [os.path.relpath(out["packed"], self.folder)])

    def test_full_disk_leaves_nothing(self):
        self.pack(code=EXHAUSTED, preexec_fn=limit_file_size(100000))
        self.pack("--beside", code=EXHAUSTED, preexec_fn=limit_file_size(100000))
        self.assertEqual(self.packed_files(), [])

    def test_no_home(self):
        env = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
        self.assertIn("HOME", self.pack(code=USAGE, env=env).stderr)
        self.chat(env=env)
        self.pack("--beside", env=env)
        self.assertIn("rows", self.chat(env=env).stderr)
        env["XDG_CACHE_HOME"] = "relative"  # the XDG specification: to be ignored
        self.assertIn("HOME", self.pack(code=USAGE, env=env).stderr)

    def test_several_at_once(self):
        running = [subprocess.Popen([THIMBLE, "-q", "pack", self.model], env=self.env, stdout=subprocess.DEVNULL)
                   for _ in range(4)]
        for process in running:
            self.assertEqual(process.wait(), OK)
        self.assertEqual(len(self.packed_files()), 1)
        self.pack("--verify")

    def test_killed_writer(self):
        for delay in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08):
            process = subprocess.Popen([THIMBLE, "-q", "pack", self.model], env=self.env, stdout=subprocess.DEVNULL)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait()
            for name in self.packed_files():
                self.assertTrue(name.endswith((".packed", ".partial")), name)
        self.pack()
        self.assertEqual(len(self.packed_files()), 1, "a later pack removes what killed ones left")
        self.pack("--verify")


if __name__ == "__main__":
    unittest.main()
