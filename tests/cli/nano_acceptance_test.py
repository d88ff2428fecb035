#!/usr/bin/env python3
"""The main job on the embedded model, and the figures of its model card."""
import json
import re
import unittest

from thimble_cli import CANNOT_TELL, NANO, OK, SOURCE, USAGE, CliTest


class NanoAcceptance(CliTest):
    def test_float_perplexity_is_that_of_the_model_card(self):
        card = (SOURCE / "models/nano/MODEL_CARD.md").read_text()
        expected = float(re.search(r"PyTorch float32 on the float16 weights: \*\*([\d.]+)\*\*", card).group(1))
        result = self.json("eval", NANO, "--text", SOURCE / "models/nano/text/heldout.txt", "-c", "512")
        self.assertAlmostEqual(result["perplexity"]["value"] / expected, 1.0, delta=1e-3)
        self.assertEqual(result["perplexity"]["chunks"], 117)

    def test_float_model_scores_100_percent(self):
        result = self.json("eval", NANO, "--tasks", SOURCE / "tasks/nano")
        self.assertEqual(sorted(t["task"] for t in result["tasks"]), ["commit", "meeting", "menu"])
        for task in result["tasks"]:
            self.assertEqual(task["items"], 120)
            self.assertEqual(task["metrics"]["exact"], 1.0, task["task"])
            self.assertEqual(task["metrics"]["fact_recall"], 1.0, task["task"])

    def test_squeeze_picks_a_model_that_still_answers(self):
        out = self.folder / "out"
        done = self.run_thimble("squeeze", SOURCE / "models/nano/hf", "--device", SOURCE / "devices/phone-4gb.toml",
                                "--tasks", SOURCE / "tasks/nano", "-o", out)
        self.assertIn(done.returncode, (OK, CANNOT_TELL), done.stderr)
        report = json.loads((out / "report.json").read_text())
        names = [c["name"] for c in report["candidates"]]
        self.assertIn("q2_k", names)
        picked = report["candidates"][report["picked"]]
        self.assertLess((out / "model.gguf").stat().st_size, NANO.stat().st_size / 2)
        self.assertEqual((out / "model.gguf").stat().st_size, picked["file_bytes"])
        q2_k = report["candidates"][names.index("q2_k")]
        self.assertLess(q2_k["score"]["mean"], 99.0)  # 2 bits lose on these tasks (model card)
        html = (out / "report.html").read_text()
        self.assertIn("<svg", html)
        self.assertIsNone(re.search(r"(src|href)\s*=\s*[\"']https?:", html), "no network")
        answer = self.expect(OK, "chat", out / "model.gguf", "-p", "Translate this menu from French to English.\n"
                             "Gâteau frit à l'agneau").stdout
        self.assertEqual(answer.strip(), "Fried lamb cake")

    def test_a_target_size_is_kept_to_the_byte_and_beats_the_scheme_of_that_size(self):
        def kl(path):
            result = self.json("eval", path, "--text", text, "-c", "512", "--against", NANO)
            return result["divergence"]["mean_kl"]

        text = self.folder / "text.txt"
        text.write_text((SOURCE / "models/nano/text/heldout.txt").read_text()[:20000])
        scheme, out, cache = self.folder / "scheme.gguf", self.folder / "out.gguf", self.folder / "cache"
        size = self.json("quantize", NANO, scheme, "--scheme", "q4_k_m")["file_bytes"]
        ask = ["quantize", NANO, out, "--data", SOURCE / "models/nano/text/calib_generic.txt", "--quick",
               "--sensitivity-tokens", "512", "--sensitivity", cache]
        report = self.json(*ask, "--target-size", str(size))
        self.assertEqual(out.stat().st_size, report["file_bytes"])
        self.assertLessEqual(out.stat().st_size, size)
        self.assertEqual(out.stat().st_size + report["allocation"]["bytes_left"], size)
        self.assertLess(report["allocation"]["bytes_left"], 2000)
        self.assertLess(kl(out), 0.8 * kl(scheme))
        # Another target needs no new measurement, an unreachable one no measurement at all.
        n = len(cache.read_text().splitlines())
        bits = self.json(*ask, "--target-body-bpw", "4.6", "--device", SOURCE / "devices/phone-8gb.toml")
        self.assertLessEqual(bits["body_bits_per_weight"], 4.6)
        self.assertEqual(len(cache.read_text().splitlines()), n)
        self.assertNotIn("iq4_xs", [t["to"] for t in bits["tensors"]])
        self.assertIn("expected at least", self.expect(USAGE, *ask, "--target-size", "1MB").stderr)


if __name__ == "__main__":
    unittest.main()
