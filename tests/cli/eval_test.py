#!/usr/bin/env python3
"""thimble eval with a folder: kill -9 anywhere, shards, merging, scoring again, and the reference's answers."""
import json
import shutil
import signal
import subprocess
import time
import unittest

from thimble_cli import CORRUPT, NANO, NOT_FOUND, OK, SOURCE, THIMBLE, USAGE, CliTest, copy_task


def size_now(path):
    """Bytes of a file that a running program may rename or has not made yet."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class Eval(CliTest):
    def setUp(self):
        super().setUp()
        self.tasks = self.folder / "tasks"
        self.tasks.mkdir()
        for name in ("menu", "meeting"):
            copy_task(self.tasks, name, 40)
        self.models = []
        for scheme in ("q4_0", "q2_k"):
            self.models.append(self.folder / f"{scheme}.gguf")
            self.expect(OK, "quantize", NANO, self.models[-1], "--scheme", scheme)
        self.text = self.folder / "text.txt"
        self.text.write_text((SOURCE / "models/nano/text/heldout.txt").read_text()[:12000])

    def arguments(self, out, *more):
        return ["eval", *self.models, "--tasks", self.tasks, "--against", NANO, "--text", self.text, "-o", out, *more]

    def keys(self, journal):
        out = []
        for line in journal.read_text().splitlines():
            try:
                out.append(json.loads(line)["key"])
            except json.JSONDecodeError:
                pass
        return out

    def test_kill_it_anywhere_and_nothing_is_lost_or_done_twice(self):
        whole, out = self.folder / "whole", self.folder / "out"
        self.expect(OK, *self.arguments(whole))
        want = (whole / "results.json").read_bytes()
        journal, reference = out / "journal.jsonl", out / "reference"

        def progress():
            return sum(size_now(p) for p in [journal, *reference.glob("*")])

        total = progress_of(whole)
        kills = 0
        for share in (0.1, 0.25, 0.4, 0.55, 0.7, 0.85):
            process = subprocess.Popen([THIMBLE, *map(str, self.arguments(out))], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            while process.poll() is None and progress() < share * total:
                time.sleep(0.002)
            before = set(self.keys(journal)) if journal.exists() else set()
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += process.returncode == -signal.SIGKILL
            if journal.exists():
                self.assertLessEqual(before, set(self.keys(journal)), "what was done stays done")
        self.assertGreaterEqual(kills, 3, "the runs were killed while they worked")
        with open(journal, "ab") as f:
            f.write(b'{"key": "torn by the ki')
        self.expect(OK, *self.arguments(out))
        self.assertEqual((out / "results.json").read_bytes(), want)
        keys = self.keys(journal)
        self.assertEqual(len(keys), len(set(keys)), "nothing is done twice")
        self.assertEqual(list(reference.glob("*.unfinished")), [])

    def test_shards_join_to_the_bytes_of_one_run_with_other_threads(self):
        whole = self.folder / "whole"
        self.expect(OK, *self.arguments(whole), "--threads", "1")
        want = (whole / "results.json").read_bytes()
        for by in ("item", "candidate"):
            out = self.folder / by
            for i in range(3):
                done = self.json(*self.arguments(out, "--shard", f"{i}/3", "--shard-by", by))
                self.assertEqual(done["shard"], f"{i}/3")
                if i == 0:
                    self.assertIn("1/3, 2/3", self.expect(NOT_FOUND, "eval", "--merge", out).stderr)
            merged = self.json("eval", "--merge", out)
            self.assertEqual([m["name"] for m in merged["models"]], ["q4_0.gguf", "q2_k.gguf"])
            self.assertEqual((out / "results.json").read_bytes(), want, by)
        shutil.copytree(out / "shard-1-of-3", out / "again")
        self.assertIn("1/3 twice", self.expect(USAGE, "eval", "--merge", out).stderr)

    def test_scores_again_without_models(self):
        out = self.folder / "out"
        first = self.json(*self.arguments(out))
        for model in self.models:
            model.unlink()
        self.assertEqual(self.json("eval", "--score-only", "-o", out), first)
        data = self.tasks / "menu.eval.jsonl"
        items = [json.loads(line) for line in data.read_text().splitlines()]
        for item in items:
            item["refs"] = ["no answer says this"]
        data.write_text("".join(json.dumps(item) + "\n" for item in items))
        again = self.json("eval", "--score-only", "-o", out)
        menu = {t["task"]: t for t in again["models"][0]["tasks"]}["menu"]
        self.assertEqual(menu["metrics"]["exact"], 0.0)
        items[3]["messages"][0]["content"] += " Another question."
        data.write_text("".join(json.dumps(item) + "\n" for item in items))
        self.assertIn(items[3]["id"], self.expect(NOT_FOUND, "eval", "--score-only", "-o", out).stderr)

    def test_fidelity_on_the_references_own_answers(self):
        cache = self.folder / "cache"
        ask = lambda model: self.json("eval", model, "--tasks", self.tasks, "--against", NANO, "--reference-cache", cache)
        float_model = {t["task"]: t["fidelity"] for t in ask(NANO)["tasks"]}
        files = {p: p.stat().st_mtime_ns for p in cache.iterdir()}
        self.assertEqual(len(files), 2)
        q4, q2 = ({t["task"]: t["fidelity"] for t in ask(m)["tasks"]} for m in self.models)
        self.assertEqual({p: p.stat().st_mtime_ns for p in cache.iterdir()}, files, "made once")
        for task in ("menu", "meeting"):
            self.assertEqual(float_model[task]["max_kl"], 0.0)
            self.assertEqual(float_model[task]["flipped_items"], 0)
            self.assertLess(q4[task]["mean_kl"], q2[task]["mean_kl"])
            self.assertGreaterEqual(q4[task]["top1_agreement"], q2[task]["top1_agreement"])
            self.assertGreater(q2[task]["flipped_items"], 0)
        damaged = next(iter(files))
        good = damaged.read_bytes()
        damaged.write_bytes(good[:-20])
        done = self.expect(OK, "eval", NANO, "--tasks", self.tasks, "--against", NANO, "--reference-cache", cache)
        self.assertIn("made again", done.stderr)
        self.assertEqual(len(damaged.read_bytes()), len(good))

    def test_wrong_use_is_explained(self):
        out = self.folder / "out"
        tasks = ["--tasks", self.tasks]
        self.assertIn("expected 0/2 to 1/2", self.expect(USAGE, "eval", NANO, *tasks, "-o", out, "--shard", "2/2").stderr)
        self.assertIn("output folder", self.expect(USAGE, "eval", NANO, *tasks, "--shard", "0/2").stderr)
        self.expect(USAGE, "eval", NANO, *tasks, "-o", out, "--shard-by", "item")
        self.expect(USAGE, "eval", NANO, NANO, *tasks)
        self.expect(USAGE, "eval", *tasks)
        self.expect(USAGE, "eval", NANO)
        self.expect(USAGE, "eval", NANO, "--merge", out)
        self.expect(USAGE, "eval", "--score-only")
        self.expect(NOT_FOUND, "eval", "--score-only", "-o", out)
        self.assertFalse(out.exists(), "nothing is left by a refusal")
        out.write_text("a file")
        self.assertIn("expected a folder", self.expect(USAGE, "eval", NANO, *tasks, "-o", out).stderr)
        out.unlink()
        out.mkdir()
        (out / "manifest.json").write_text("{")
        self.expect(CORRUPT, "eval", "--score-only", "-o", out)


def progress_of(folder):
    files = [folder / "journal.jsonl", *(folder / "reference").glob("*")]
    return sum(p.stat().st_size for p in files)


if __name__ == "__main__":
    unittest.main()
