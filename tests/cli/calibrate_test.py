#!/usr/bin/env python3
"""thimble calibrate: kill -9 and a full disk, refusals, the leak check, the report, and its importance matrix."""
import signal
import subprocess
import time
import unittest

from thimble_cli import CANCELLED, EXHAUSTED, NANO, NOT_FOUND, OK, SOURCE, THIMBLE, USAGE, CliTest, limit_file_size

TASKS = SOURCE / "tasks" / "nano"


class Calibrate(CliTest):
    def arguments(self, out, samples=12):
        return ["calibrate", NANO, "--data", TASKS, "--samples", samples, "-o", out]

    def test_goes_on_after_kill_and_interrupt_to_the_same_bytes(self):
        whole, out = self.folder / "whole.thimble", self.folder / "out.thimble"
        self.expect(OK, *self.arguments(whole))
        state = self.folder / "out.thimble.work" / "state.json"
        for signal_number in (signal.SIGKILL, signal.SIGINT):
            before = state.read_text() if state.exists() else ""
            process = subprocess.Popen([THIMBLE, "-q", "--threads", "1", *map(str, self.arguments(out))])
            # Killed between stages, wherever it happens to be, once it has made progress.
            while process.poll() is None and (not state.exists() or state.read_text() == before):
                time.sleep(0.002)
            self.assertIsNone(process.poll(), "done before it could be killed")
            process.send_signal(signal_number)
            process.wait(timeout=60)
            self.assertEqual(process.returncode, -signal.SIGKILL if signal_number == signal.SIGKILL else CANCELLED)
            self.assertFalse(out.exists())
        done = self.json(*self.arguments(out))
        self.assertGreaterEqual(done["resumed_layers"], 1)
        self.assertEqual(out.read_bytes(), whole.read_bytes())
        self.assertEqual(self.files(), ["out.thimble", "whole.thimble"])

    def test_full_disk_is_an_error_and_leaves_the_old_file(self):
        out = self.folder / "out.thimble"
        out.write_text("old")
        self.expect(EXHAUSTED, *self.arguments(out), preexec_fn=limit_file_size(1 << 20))
        self.assertEqual(out.read_text(), "old")

    def test_refusals(self):
        out = self.folder / "out.thimble"
        self.expect(USAGE, "calibrate", NANO, "-o", out)
        self.expect(USAGE, "calibrate", NANO, "--data", f"{TASKS}=0", "-o", out)
        self.expect(NOT_FOUND, "calibrate", NANO, "--data", self.folder / "none.txt", "-o", out)
        self.expect(NOT_FOUND, "calibrate", NANO, "--data", self.folder, "-o", out)
        self.expect(USAGE, "calibrate", "--report", NANO)
        model = self.folder / "model.gguf"
        model.write_bytes(NANO.read_bytes())
        self.expect(USAGE, "calibrate", model, "--data", TASKS, "-o", model)
        self.assertEqual(model.read_bytes(), NANO.read_bytes())

    def test_nothing_of_the_evaluation(self):
        leaked = self.folder / "leaked.jsonl"
        leaked.write_bytes((TASKS / "menu.calib.jsonl").read_bytes() + (TASKS / "menu.eval.jsonl").read_bytes())
        done = self.json("calibrate", NANO, "--data", leaked, "--exclude", TASKS, "--samples", 4, "--no-hessian",
                         "-o", self.folder / "out.thimble")
        self.assertEqual(done["sources"][0]["excluded"], 120)
        self.assertEqual(done["sources"][0]["found"], 86)

    def test_report_and_importance_matrix(self):
        out, page, imatrix = (self.folder / name for name in ("out.thimble", "page.html", "imatrix.gguf"))
        done = self.json(*self.arguments(out), "--imatrix", imatrix)
        self.assertEqual(done["inputs"], 25)
        self.assertEqual(done["sequences"] + done["heldout_sequences"], 12)
        self.assertTrue(imatrix.exists())
        report = self.json("calibrate", "--report", out, "-o", page)
        self.assertEqual(len(report["inputs"]), 25)
        for entry in report["inputs"]:
            self.assertLessEqual(entry["top_permille_share"], entry["top_percent_share"])
        self.assertIn("<svg", page.read_text())
        self.assertIn("blk.0.ffn_down", self.expect(OK, "calibrate", "--report", out).stdout)


if __name__ == "__main__":
    unittest.main()
