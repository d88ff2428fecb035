#!/usr/bin/env python3
"""Bad input through the program: the documented exit code, a message that names file and cause, nothing half-written."""
import os
import struct
import subprocess
import unittest

from thimble_cli import (CORRUPT, EXHAUSTED, IO, NANO, NOT_FOUND, OK, SOURCE, THIMBLE, UNSUPPORTED, USAGE, CliTest,
                         limit_file_size)


class BadInput(CliTest):
    def write(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return path

    def test_missing_empty_folder_device_and_garbage(self):
        garbage = self.write("garbage.gguf", b"this is no model at all" * 10)
        empty = self.write("empty.gguf", b"")
        for verb in (["inspect"], ["chat", "-p", "x"], ["bench"], ["eval", "--text", NANO], ["tokenize", "--text", "x"]):
            for path, code in ((self.folder / "missing.gguf", NOT_FOUND), (self.folder, IO), ("/dev/zero", IO),
                               (garbage, CORRUPT), (empty, CORRUPT)):
                done = self.expect(code, verb[0], path, *verb[1:])
                self.assertIn(str(path), done.stderr, f"{verb} {path}")
        self.assertEqual(self.files(), ["empty.gguf", "garbage.gguf"])

    def test_unreadable(self):
        if os.geteuid() == 0:
            return  # root reads everything: file permissions cannot be tested as root
        path = self.write("secret.gguf", NANO.read_bytes()[:100])
        path.chmod(0)
        self.assertIn(str(path), self.expect(IO, "inspect", path).stderr)

    def test_truncated_at_many_places(self):
        whole = NANO.read_bytes()
        cuts = list(range(0, 64)) + list(range(64, 2000, 97)) + [len(whole) // 2, len(whole) - 1]
        for cut in cuts:
            path = self.write("cut.gguf", whole[:cut])
            for verb in ("inspect", "quantize"):
                out = self.folder / "out.gguf"
                args = [verb, path] + ([out, "--scheme", "q4_0"] if verb == "quantize" else [])
                done = self.expect(CORRUPT, *args)
                self.assertIn("cut.gguf", done.stderr)
                self.assertFalse(out.exists())

    def test_broken_vocabulary(self):
        whole = NANO.read_bytes()
        key = b"tokenizer.ggml.scores"
        at = whole.index(key) + len(key) + 4 + 4 + 8  # value type, element type, count
        path = self.write("nan.gguf", whole[:at] + struct.pack("<f", float("nan")) + whole[at + 4:])
        done = self.expect(CORRUPT, "tokenize", path, "--text", "x")
        self.assertIn("nan.gguf: key tokenizer.ggml.scores: entry 0", done.stderr)

    def test_output_names_that_are_no_files(self):
        self.expect(NOT_FOUND, "quantize", NANO, self.folder / "none/o.gguf", "--scheme", "q8_0")
        self.expect(IO, "quantize", NANO, self.folder, "--scheme", "q8_0")
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for args in (["quantize", NANO, pipe, "--scheme", "q8_0"], ["convert", SOURCE / "models/nano/hf", "-o", pipe]):
            self.assertIn(str(pipe), self.expect(IO, *args).stderr)
        self.assertTrue(pipe.is_fifo(), "a pipe or device must not be replaced by a file")

    def test_file_names_that_are_not_utf8(self):
        path = os.fsencode(self.folder) + b"/\xff.gguf"
        with open(path, "wb") as copy:
            copy.write(NANO.read_bytes())
        name, out = os.fsdecode(path), os.fsdecode(path) + ".q"
        self.json("inspect", name)
        self.json("tokenize", name, "--text", "x")
        self.json("quantize", name, out, "--scheme", "q8_0")
        self.json("convert", SOURCE / "models/nano/hf", "-o", out)
        self.json("plan", name, "--device", SOURCE / "devices/phone-4gb.toml")

    def test_output_that_cannot_be_printed_is_no_success(self):
        out = self.folder / "o.gguf"
        profile = SOURCE / "devices/phone-4gb.toml"
        text = self.write("text.txt", b"a line of words\n" * 200)
        for args in (["inspect", NANO], ["--json", "inspect", NANO], ["quantize", NANO, "--dry-run", "--scheme", "q8_0"],
                     ["convert", SOURCE / "models/nano/hf", "-o", out], ["tokenize", NANO, "--text", "x"],
                     ["chat", NANO, "-p", "x", "-n", "2"], ["--json", "chat", NANO, "-p", "x", "-n", "2"],
                     ["bench", NANO, "-p", "8", "-n", "2", "-r", "1"], ["plan", NANO, "--device", profile],
                     ["eval", NANO, "--text", text]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([THIMBLE, *map(str, args)], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, IO, f"{args}: {done.stderr}")
            self.assertIn("standard output", done.stderr)

    def test_full_disk_leaves_nothing(self):
        out = self.folder / "out.gguf"
        self.expect(EXHAUSTED, "quantize", NANO, out, "--scheme", "q8_0", preexec_fn=limit_file_size(1 << 20))
        self.expect(EXHAUSTED, "convert", SOURCE / "models/nano/hf", "-o", out, preexec_fn=limit_file_size(1 << 20))
        self.assertEqual(self.files(), [])

    def test_old_output_survives_a_failure(self):
        out = self.write("out.gguf", b"old")
        self.expect(EXHAUSTED, "quantize", NANO, out, "--scheme", "q8_0", preexec_fn=limit_file_size(1 << 20))
        self.assertEqual(out.read_bytes(), b"old")

    def test_quantizing_a_quantized_model_or_onto_itself_is_refused(self):
        out = self.folder / "q.gguf"
        self.expect(OK, "quantize", NANO, out, "--scheme", "q4_0")
        self.expect(USAGE, "quantize", out, self.folder / "again.gguf", "--scheme", "q8_0")
        before = out.read_bytes()
        self.expect(USAGE, "quantize", out, out, "--scheme", "f16")
        self.assertEqual(out.read_bytes(), before)
        self.assertEqual(self.files(), ["q.gguf"])

    def test_flags_out_of_range(self):
        for args in (["chat", NANO, "-p", "x", "--temp", "nan"], ["chat", NANO, "-p", "x", "-c", "100000"],
                     ["chat", NANO, "-p", "x", "--top-p", "1.5"], ["quantize", NANO, "o.gguf", "--scheme", "q9_z"],
                     ["chat", NANO, "-p", "x", "--template", "nonsense"], ["nonsense"], ["bench", NANO, "--isa", "vax"],
                     ["bench", "--shape", "gpt-7", "--type", "q4_k_m"], ["bench", NANO, "--type", "q8_0"], []):
            self.expect(USAGE, *args, cwd=self.folder)
        self.assertEqual(self.files(), [])

    def test_prompt_beyond_the_context_is_an_error(self):
        done = self.expect(EXHAUSTED, "chat", NANO, "-p", "word " * 2000)
        self.assertIn("512", done.stderr)

    def test_unknown_chat_template_names_the_flag(self):
        whole = NANO.read_bytes()
        key = b"tokenizer.chat_template"
        at = whole.index(key) + len(key) + 4
        length, = struct.unpack_from("<Q", whole, at)
        changed = whole[:at + 8] + (b"{{ strange }}" * 100)[:length].ljust(length) + whole[at + 8 + length:]
        path = self.write("strange.gguf", changed)
        done = self.expect(UNSUPPORTED, "chat", path, "-p", "x")
        self.assertIn("--template", done.stderr)
        self.assertIn("strange.gguf", done.stderr)
        self.expect(OK, "chat", path, "-p", "x", "--template", "chatml", "-n", "2")

    def test_broken_recipe_profile_and_tasks_name_file_and_key(self):
        recipe = self.write("r.toml", b'scheme = "q4_k_m"\n[[rule]]\nmatch = "*"\ntypo = "f16"\n')
        done = self.expect(CORRUPT, "quantize", NANO, self.folder / "o.gguf", "--recipe", recipe)
        self.assertIn("r.toml: line 4", done.stderr)
        profile = self.write("p.toml", b'name = "x"\n')
        self.assertIn("p.toml", self.expect(CORRUPT, "plan", NANO, "--device", profile).stderr)
        tasks = self.folder / "tasks"
        tasks.mkdir()
        self.expect(NOT_FOUND, "eval", NANO, "--tasks", tasks)
        (tasks / "a.task.json").write_text((SOURCE / "tasks/nano/menu.task.json").read_text())
        self.assertNotEqual(self.run_thimble("eval", NANO, "--tasks", tasks).returncode, OK)


if __name__ == "__main__":
    unittest.main()
