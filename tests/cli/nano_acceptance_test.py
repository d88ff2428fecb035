#!/usr/bin/env python3
"""The main job on the embedded model, and the figures of its model card."""
import json
import re
import unittest

from thimble_cli import CANNOT_TELL, NANO, OK, SOURCE, CliTest


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


if __name__ == "__main__":
    unittest.main()
