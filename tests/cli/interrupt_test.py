#!/usr/bin/env python3
"""Ctrl-C and kill -9: the documented exit code, nothing torn, and a squeeze that goes on where it stopped."""
import json
import os
import pty
import select
import signal
import subprocess
import time
import unittest

from thimble_cli import CANCELLED, CANNOT_TELL, IO, NANO, OK, SOURCE, THIMBLE, CliTest


class Interrupt(CliTest):
    def test_interrupt_while_quantizing_leaves_nothing(self):
        out = self.folder / "out.gguf"
        process = self.start("quantize", NANO, out, "--scheme", "iq4_xs", "--threads", "1")
        self.wait_until(lambda: any(self.folder.iterdir()), process)  # the temporary exists: work has begun
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, CANCELLED, error)
        self.assertEqual(self.files(), [])

    def chat_at_the_prompt(self, model=NANO):
        """A chat on a terminal that waits for its first line: process id and the terminal's other end."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(THIMBLE, [THIMBLE, "chat", str(model)])
        self.addCleanup(os.close, terminal)
        self.read_until(terminal, b"> ")
        return pid, terminal

    def read_until(self, terminal, text):
        seen = b""
        while text not in seen:
            self.assertTrue(select.select([terminal], [], [], 60)[0], seen)
            seen += os.read(terminal, 4096)
        return seen

    def test_chat_goes_on_after_an_answer_and_ends_by_signals_at_the_prompt(self):
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            pid, terminal = self.chat_at_the_prompt()
            os.write(terminal, b"hi\n")
            self.assertIn(b"stop]", self.read_until(terminal, b"\n> "))
            os.kill(pid, signal_number)
            self.assertEqual(os.waitpid(pid, 0)[1], signal_number)

    def test_model_cut_short_while_it_is_in_use_is_an_error_not_a_crash(self):
        model = self.folder / "model.gguf"
        model.write_bytes(NANO.read_bytes())
        pid, terminal = self.chat_at_the_prompt(model)
        os.truncate(model, 4096)
        os.write(terminal, b"hi\n")
        self.read_until(terminal, b"became shorter")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), IO)

    def test_squeeze_goes_on_after_a_kill(self):
        candidates = self.folder / "candidates.toml"
        candidates.write_text('schemes = ["q8_0", "q2_k"]\nhot_weights = [false]\n')
        tasks = self.folder / "tasks"
        tasks.mkdir()
        for suffix in (".task.json", ".eval.jsonl"):
            text = (SOURCE / f"tasks/nano/commit{suffix}").read_text()
            (tasks / f"commit{suffix}").write_text(text)
        out = self.folder / "out"
        args = ["squeeze", NANO, "--device", SOURCE / "devices/phone-4gb.toml", "--tasks", tasks, "--candidates",
                candidates, "-o", out]
        journal = out / "work" / "journal.jsonl"

        def lines():
            return journal.read_bytes().count(b"\n") if journal.exists() else 0

        seen = 0
        for _ in range(3):
            process = self.start(*args)
            self.wait_until(lambda: lines() >= seen + 20, process)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            self.assertGreaterEqual(lines(), seen + 20)  # what was done stays done
            seen = lines()
            self.assertFalse((out / "report.json").exists())
        with open(journal, "ab") as f:
            f.write(b'{"key": "torn by the ki')  # a torn last line is dropped, not fatal
        done = self.run_thimble(*args)
        self.assertIn(done.returncode, (OK, CANNOT_TELL), done.stderr)
        report = json.loads((out / "report.json").read_text())
        self.assertTrue((out / "model.gguf").stat().st_size > 0)
        keys = []
        for line in journal.read_text().splitlines():
            try:
                keys.append(json.loads(line)["key"])
            except json.JSONDecodeError:
                pass
        self.assertEqual(len(keys), len(set(keys)), "nothing is done twice")

        fresh = self.folder / "fresh"
        done = self.run_thimble(*args[:-1], fresh)
        again = json.loads((fresh / "report.json").read_text())
        pick = lambda r: (r["verdict"], r["picked"], [c["tasks"] for c in r["candidates"]])
        self.assertEqual(pick(report), pick(again), "a resumed run gives what an undisturbed one gives")
        self.assertEqual([p for p in os.listdir(out) if p.endswith(".partial")], [])


if __name__ == "__main__":
    unittest.main()
