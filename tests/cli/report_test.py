#!/usr/bin/env python3
"""thimble report diff, and the gate of thimble eval: what they print and the exit codes they end with."""
import json
import shutil
import unittest

from thimble_cli import CANNOT_TELL, CORRUPT, NANO, NOT_FOUND, OK, SOURCE, CliTest

GATE_FAILED = 12


def results(name, scores, answers):
    items = [{"id": f"i{k}", "cluster": f"c{k}", "answer": a, "truncated": False, "scores": {"exact": s}}
             for k, (s, a) in enumerate(zip(scores, answers))]
    task = {"task": "menu", "data": "0", "primary": "exact", "items": items}
    return {"format": "thimble-eval-results/1", "models": [{"name": name, "hash": "0", "tasks": [task]}]}


class Report(CliTest):
    def write(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def test_diff_shows_what_moved(self):
        a = self.write("a.json", results("old", [1] * 40, ["good"] * 40))
        b = self.write("b.json", results("new", [0] * 10 + [1] * 30, ["bad \x1b[31m"] * 10 + ["good"] * 30))
        done = self.expect(OK, "report", "diff", a, b)
        self.assertIn("-25.00", done.stdout)
        self.assertIn("10 worse, 0 better", done.stdout)
        self.assertIn("- good", done.stdout)
        self.assertNotIn("\x1b", done.stdout)
        task = self.json("report", "diff", a, b, "--items", "2")["tasks"][0]
        self.assertEqual((task["lost"], task["gained"], len(task["changes"])), (10, 0, 2))
        self.assertLess(task["difference"]["high"], 0)
        self.assertLess(task["p"], 0.01)
        self.expect(NOT_FOUND, "report", "diff", a, self.folder / "none.json")
        self.expect(NOT_FOUND, "report", "diff", a, b, "--candidate-b", "none")
        self.assertIn("broken.json", self.expect(CORRUPT, "report", "diff", a, self.write("broken.json", "{")).stderr)

    def test_gate_fails_the_build_for_a_model_that_is_worse(self):
        tasks = self.folder / "tasks"
        tasks.mkdir()
        for name in ("meeting.task.json", "meeting.eval.jsonl"):
            shutil.copy(SOURCE / "tasks/nano" / name, tasks)
        worse = self.folder / "worse.gguf"
        self.expect(OK, "quantize", NANO, worse, "--scheme", "q2_k")
        self.expect(OK, "eval", NANO, "--tasks", tasks, "-o", self.folder / "release")
        rules = self.write("rules.toml", 'baseline = "release/results.json"\nmargin = 1\n')
        ask = ["eval", worse, "--tasks", tasks, "-o", self.folder / "now", "--gate", rules]
        done = self.run_thimble(*ask)
        self.assertEqual(done.returncode, GATE_FAILED, done.stdout + done.stderr)
        self.assertIn("fail", done.stdout)
        # 120 items without a difference cannot show that no more than 1 point is lost, but they can for 10.
        same = ["eval", NANO, "--tasks", tasks, "-o", self.folder / "release", "--gate"]
        gate = self.json(*same, rules)["gate"][0]
        self.assertEqual((gate["outcome"], gate["checks"][0]["items_needed"]), ("cannot_tell", 368))
        strict = self.write("strict.toml", rules.read_text() + 'cannot_tell = "fail"\n')
        self.expect(CANNOT_TELL, *same, strict)
        wide = self.write("wide.toml", 'baseline = "release/results.json"\nmargin = 10\ncannot_tell = "fail"\n')
        self.assertEqual(self.json(*same, wide)["gate"][0]["outcome"], "pass")
        self.expect(NOT_FOUND, *same, self.folder / "none.toml")
        self.assertIn("line", self.expect(CORRUPT, *same, self.write("bad.toml", "baseline = ")).stderr)


if __name__ == "__main__":
    unittest.main()
