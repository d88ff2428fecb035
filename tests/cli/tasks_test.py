#!/usr/bin/env python3
"""thimble tasks new, import and check: what they write is read back, bad files end in the documented exit code."""
import csv
import hashlib
import io
import json
import subprocess
import unittest

from thimble_cli import CANNOT_TELL, CORRUPT, EXHAUSTED, IO, NANO, NOT_FOUND, OK, SOURCE, THIMBLE, USAGE, CliTest

MENU = [json.loads(line) for line in (SOURCE / "tasks/nano/menu.eval.jsonl").read_text().splitlines()]


class Tasks(CliTest):
    def setUp(self):
        super().setUp()
        self.tasks = self.folder / "tasks"

    def write(self, name, data):
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def csv_of(self, items):
        """As a spreadsheet would write it; Python's own csv module is the other side."""
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(["id", "prompt", "reference", "cluster"])
        for item in items:
            rows.writerow([item["id"], item["messages"][0]["content"], item["refs"][0], item["cluster"]])
        return self.write("prompts.csv", text.getvalue())

    def test_new_makes_a_task_that_passes_and_runs(self):
        self.expect(OK, "tasks", "new", self.tasks)
        result = self.json("tasks", "check", self.tasks, "--model", NANO)
        self.assertTrue(result["ok"])
        self.assertEqual(result["tasks"][0]["items"], 3)
        self.assertGreater(result["tasks"][0]["prompt_tokens"]["least"], 5)
        task = json.loads((self.tasks / "example.task.json").read_text())
        data = (self.tasks / "example.eval.jsonl").read_bytes()
        self.assertEqual(task["sha256"], hashlib.sha256(data).hexdigest())
        self.assertGreater(len(task["comment"]), 10)
        scores = self.json("eval", NANO, "--tasks", self.tasks)["tasks"][0]["metrics"]
        self.assertEqual(set(scores), {task["metrics"]["primary"], *task["metrics"]["also"]})
        self.assertIn("example.task.json", self.expect(USAGE, "tasks", "new", self.tasks).stderr)

    def test_csv_to_scores(self):
        path = self.csv_of(MENU[:20])
        done = self.json("tasks", "import", path, "-o", self.tasks, "--name", "menu", "--metric", "exact", "--metric",
                         "chrf2")
        self.assertEqual((done["items"], done["notes"]), (20, []))
        written = [json.loads(line) for line in (self.tasks / "menu.eval.jsonl").read_text().splitlines()]
        self.assertEqual([i["messages"] for i in written], [i["messages"] for i in MENU[:20]])
        self.assertEqual([i["refs"] for i in written], [i["refs"] for i in MENU[:20]])
        self.assertEqual([i["cluster"] for i in written], [i["cluster"] for i in MENU[:20]])
        self.expect(OK, "tasks", "check", self.tasks, "--model", NANO)
        score = self.json("eval", NANO, "--tasks", self.tasks)["tasks"][0]["metrics"]
        self.assertEqual(score["exact"], 1.0)  # models/nano knows these dishes (tasks/nano)
        self.assertEqual(score["chrf2"], 100.0)

    def test_csv_to_picked_model_in_three_commands(self):
        """The walk through docs/EVALUATION.md, with two candidates instead of all."""
        candidates = self.write("candidates.toml", 'schemes = ["q8_0", "q2_k"]\nhot_weights = [false]\n')
        out = self.folder / "out"
        self.expect(OK, "tasks", "import", self.csv_of(MENU[:60]), "-o", self.tasks, "--name", "menu", "--calibration",
                    "0.3")
        self.expect(OK, "tasks", "check", self.tasks, "--model", NANO)
        done = self.run_thimble("squeeze", NANO, "--device", SOURCE / "devices/phone-4gb.toml", "--tasks", self.tasks,
                                "--candidates", candidates, "-o", out)
        self.assertIn(done.returncode, (OK, CANNOT_TELL), done.stderr)
        self.assertTrue((out / "model.gguf").exists())
        self.assertIn("menu", (out / "report.html").read_text())

    def test_calibration_data_stay_apart(self):
        path = self.csv_of(MENU)
        done = self.json("tasks", "import", path, "-o", self.tasks, "--name", "menu", "--calibration", "0.3")
        self.assertGreater(done["calibration_items"], 0)
        self.assertEqual(done["items"] + done["calibration_items"], len(MENU))
        self.assertTrue(self.json("tasks", "check", self.tasks)["ok"])
        leak = (self.tasks / "menu.eval.jsonl").read_bytes().splitlines()[0]
        with open(self.tasks / "menu.calib.jsonl", "ab") as calibration:
            calibration.write(leak + b"\n")
        result = self.json("tasks", "check", self.tasks, code=CORRUPT)
        self.assertFalse(result["ok"])
        self.assertIn("also evaluated", result["findings"][0]["text"])

    def test_evals_jsonl(self):
        lines = [{"input": [{"role": "user", "content": f"What is {k} + {k}?"}], "ideal": [str(2 * k)]} for k in range(12)]
        path = self.write("sums.jsonl", "\n".join(map(json.dumps, lines)))
        self.assertEqual(self.json("tasks", "import", path, "-o", self.tasks, "--name", "sums")["items"], 12)
        self.expect(OK, "tasks", "check", self.tasks)

    def test_items_that_do_not_fit_are_problems(self):
        self.expect(OK, "tasks", "import", self.csv_of(MENU[:12]), "-o", self.tasks, "--name", "menu")
        self.expect(OK, "tasks", "check", self.tasks, "--model", NANO)
        done = self.expect(CORRUPT, "tasks", "check", self.tasks, "--model", NANO, "--context", 64)
        self.assertIn("do not fit the context of 64 tokens", done.stdout)
        self.assertEqual(self.run_thimble("eval", NANO, "--tasks", self.tasks, "--context", 64).returncode, EXHAUSTED)

    def test_bad_files_name_file_line_and_key(self):
        good = '{"id": "a", "messages": [{"role": "user", "content": "Hi"}], "refs": ["Ho"]}\n'
        start = '{"id": "b", "messages": [{"role": "user", "content": "Hi"}], '
        bad = {
            "broken JSON": (start + '"refs": ["x}', CORRUPT, "refs"),
            "wrong type": (start + '"refs": "x"}', CORRUPT, "refs"),
            "missing refs": (start[:-2] + "}", CORRUPT, "refs"),
            "a line of 10 MB": (start + '"refs": ["' + "x" * 10_000_000 + '"]}', EXHAUSTED, "refs"),
            "duplicate id": (good, CORRUPT, "id"),
            "no UTF-8": (start.encode() + b'"refs": ["caf\xe9"]}', CORRUPT, "refs"),
            "unknown key": (start + '"refs": ["x"], "fact": []}', CORRUPT, "fact"),
        }
        self.tasks.mkdir()
        (self.tasks / "t.task.json").write_text('{"task": "t", "data": "t.jsonl", "metrics": {"primary": "exact"}}')
        for name, (line, code, key) in bad.items():
            with self.subTest(name):
                (self.tasks / "t.jsonl").write_bytes(good.encode() + (line if isinstance(line, bytes) else line.encode()))
                for args in (["tasks", "check", self.tasks], ["eval", NANO, "--tasks", self.tasks]):
                    message = self.expect(code, *args).stderr
                    self.assertIn(f"{self.tasks}/t.jsonl: line 2", message)
                    self.assertIn(f"key '{key}'", message)
                    self.assertLess(len(message), 1000)

    def test_bad_imports_leave_nothing(self):
        out = ["-o", self.tasks, "--name", "t"]
        self.assertIn("line 2", self.expect(CORRUPT, "tasks", "import", self.write("a.csv", 'prompt\n"x'), *out).stderr)
        self.expect(NOT_FOUND, "tasks", "import", self.folder / "none.csv", *out)
        good = self.csv_of(MENU[:3])
        self.expect(USAGE, "tasks", "import", good, *out, "--metric", "nonsense")
        self.expect(USAGE, "tasks", "import", good, "-o", self.tasks, "--name", "../t")
        self.expect(USAGE, "tasks", "import", good, *out, "--calibration", "1.5")
        self.expect(USAGE, "tasks", "import", self.write("a.txt", "x"), *out)
        self.expect(USAGE, "tasks")
        self.expect(NOT_FOUND, "tasks", "check", self.tasks)
        self.assertFalse(self.tasks.exists())

    def test_output_that_cannot_be_printed_is_no_success(self):
        for args in (["tasks", "check", SOURCE / "tasks/nano"], ["--json", "tasks", "check", SOURCE / "tasks/nano"],
                     ["tasks", "new", self.tasks]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([THIMBLE, *map(str, args)], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, IO, done.stderr)

    def test_tasks_of_this_repository_have_no_problems(self):
        for folder in ("nano", "product"):
            self.assertTrue(self.json("tasks", "check", SOURCE / "tasks" / folder)["ok"])
        self.expect(OK, "tasks", "check", SOURCE / "tasks/nano", "--model", NANO)


if __name__ == "__main__":
    unittest.main()
