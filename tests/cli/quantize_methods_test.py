#!/usr/bin/env python3
"""thimble quantize with a calibration: methods, folds, outlier branches, hot weights, refusals, a kill in the middle."""
import signal
import unittest

from thimble_cli import NANO, NOT_FOUND, OK, SOURCE, USAGE, CliTest


class QuantizeMethods(CliTest):
    @classmethod
    def setUpClass(cls):
        cls.shared = cls("run_thimble")
        cls.shared.setUp()
        cls.calibration = cls.shared.folder / "calib.thimble"
        cls.shared.expect(OK, "calibrate", NANO, "--data", SOURCE / "tasks/nano", "--data",
                          SOURCE / "models/nano/text/calib_generic.txt", "--samples", 32, "-c", 256, "-o", cls.calibration)
        cls.text = cls.shared.folder / "text.txt"
        cls.text.write_text((SOURCE / "models/nano/text/heldout.txt").read_text()[:12000])

    @classmethod
    def tearDownClass(cls):
        cls.shared.doCleanups()

    def divergence(self, *flags):
        out = self.folder / "q.gguf"
        report = self.json("quantize", NANO, out, *flags)
        told = self.json("eval", out, "--text", self.text, "-c", "256", "--against", NANO)
        return told["divergence"]["mean_kl"], report

    def test_second_moments_make_the_same_bytes_worth_more(self):
        plain, before = self.divergence("--scheme", "iq4_xs")
        best, after = self.divergence("--scheme", "iq4_xs", "--calibration", self.calibration)
        self.assertLess(best, 0.8 * plain)  # 0.66 on the whole text (docs/QUANTIZATION.md)
        self.assertEqual([t["bytes"] for t in before["tensors"]], [t["bytes"] for t in after["tensors"]])
        self.assertEqual(after["method"], "best")
        rounded = [t["rounding"] for t in after["tensors"] if "rounding" in t]
        self.assertEqual(len(rounded), 43)  # 7 of each of 6 layers, and the head
        for r in rounded:
            self.assertLessEqual(r["loss"]["heldout"], r["search_loss"]["heldout"])

    def test_outlier_branches_by_count_and_by_budget(self):
        _, plain = self.divergence("--scheme", "i4_g128", "--calibration", self.calibration, "--method", "search")
        _, some = self.divergence("--scheme", "i4_g128", "--calibration", self.calibration, "--method", "search",
                                  "--outliers", "4")
        # k channels in f16 and their numbers: (2 n_out + 4) k bytes a matrix, the branch padded to 32.
        self.assertGreater(some["file_bytes"], plain["file_bytes"])
        _, budget = self.divergence("--scheme", "i4_g128", "--calibration", self.calibration, "--method", "search",
                                    "--outlier-bits", "0.25")
        more = budget["body_bits_per_weight"] - plain["body_bits_per_weight"]
        self.assertGreater(more, 0.1)
        self.assertLessEqual(more, 0.25)

    def test_a_kill_in_the_middle_costs_nothing(self):
        whole, out = self.folder / "whole.gguf", self.folder / "out.gguf"
        flags = ["--scheme", "iq4_xs", "--calibration", self.calibration, "--threads", "1"]
        self.expect(OK, "quantize", NANO, whole, *flags)
        process = self.start("quantize", NANO, out, *flags)
        self.wait_until(lambda: len(self.files()) > 1 and any("out.gguf" in name for name in self.files()), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.assertFalse(out.exists())
        self.expect(OK, "quantize", NANO, out, *flags)
        self.assertEqual(out.read_bytes(), whole.read_bytes())
        self.assertEqual(self.files(), ["out.gguf", "whole.gguf"])

    def test_refusals(self):
        out = self.folder / "o.gguf"
        ask = ["quantize", NANO, out, "--scheme", "q4_k_m"]
        self.expect(USAGE, *ask, "--method", "rounding")
        self.expect(USAGE, *ask, "--fold", "awq")  # nothing is known of the inputs
        self.expect(USAGE, *ask, "--method", "gptq")
        self.expect(USAGE, *ask, "--outliers", "0")
        self.expect(USAGE, *ask, "--outliers", "3", "--outlier-bits", "0.1")
        self.expect(USAGE, *ask, "--damp", "2", "--calibration", self.calibration)
        for flag in ("--outlier-bits", "--target-bpw", "--target-body-bpw", "--damp"):
            self.assertIn("found nan, expected", self.expect(USAGE, *ask, flag, "nan").stderr)
        self.expect(USAGE, *ask, "--hot-weights=q2_k")
        self.expect(NOT_FOUND, *ask, "--calibration", self.folder / "none")
        self.assertIn(str(NANO), self.expect(USAGE, *ask, "--calibration", NANO).stderr)
        other = self.folder / "other.gguf"
        self.expect(OK, "convert", SOURCE / "models/nano/hf", "-o", other, "--type", "f32")
        done = self.expect(USAGE, "quantize", other, out, "--scheme", "q4_k_m", "--calibration", self.calibration)
        self.assertIn("calib.thimble", done.stderr)
        self.assertEqual(self.files(), ["other.gguf"])


if __name__ == "__main__":
    unittest.main()
