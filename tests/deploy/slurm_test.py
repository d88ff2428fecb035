#!/usr/bin/env python3
"""deploy/slurm on a one-node cluster: an array of shards, one of them killed and submitted again, and the job that joins
them give byte for byte what an undivided run gives. Skipped (77) where Slurm is not installed or this is not root."""
import os
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cli"))
from one_node_slurm import OneNodeSlurm, why_not  # noqa: E402
from thimble_cli import NANO, OK, SOURCE, THIMBLE, CliTest, copy_task  # noqa: E402


class Slurm(CliTest):
    def setUp(self):
        super().setUp()
        self.tasks = self.folder / "tasks"
        self.tasks.mkdir()
        for name in ("menu", "commit"):
            copy_task(self.tasks, name, 20)
        self.models = []
        for scheme in ("q4_0", "q2_k"):
            self.models.append(self.folder / f"{scheme}.gguf")
            self.expect(OK, "quantize", NANO, self.models[-1], "--scheme", scheme)

    def wait(self, slurm, job):
        """Until `job` has left the queue."""
        for _ in range(3000):
            if not slurm.run("squeue", "-h", "-j", job, check=False).stdout.strip():
                return
            time.sleep(0.1)
        self.fail(slurm.run("squeue").stdout + slurm.logs())

    def submit(self, slurm, out, *flags):
        slurm.env["THIMBLE"] = THIMBLE
        said = slurm.run(SOURCE / "deploy/slurm/submit", "-n", "3", "-a", "--cpus-per-task=1", "-t", self.tasks, "-o", out,
                         *self.models, "--", "--against", NANO, *flags).stdout
        words = said.replace(",", "").split()
        return words[1], words[3]

    def logs(self, out):
        return "\n".join(f"{p}: {p.read_text()}" for p in sorted(out.glob("slurm-*.log")))

    def test_an_array_with_a_killed_shard_gives_what_one_run_gives(self):
        whole = self.folder / "whole"
        self.expect(OK, "eval", *self.models, "--tasks", self.tasks, "--against", NANO, "-o", whole)
        want = (whole / "results.json").read_bytes()
        slurm_folder = self.folder / "slurm"
        slurm_folder.mkdir()
        with OneNodeSlurm(slurm_folder) as slurm:
            for by in ("item", "candidate"):
                out = self.folder / by
                array, merge = self.submit(slurm, out, "--shard-by", by)
                self.wait(slurm, merge)
                self.assertTrue((out / "results.json").exists(), self.logs(out) + slurm.logs())
                self.assertEqual((out / "results.json").read_bytes(), want, by)

            out = self.folder / "killed"
            array, merge = self.submit(slurm, out)
            journal = out / "shard-1-of-3" / "journal.jsonl"
            for _ in range(6000):
                if journal.exists() and journal.read_bytes().count(b"\n") >= 2:
                    break
                time.sleep(0.01)
            slurm.run("scancel", "--full", "--signal=KILL", f"{array}_1", check=False)
            slurm.run("scancel", f"{array}_1", check=False)
            self.wait(slurm, array)
            self.wait(slurm, merge)
            self.assertFalse((out / "results.json").exists(), "a merge without a shard must not succeed")
            lines = journal.read_bytes().count(b"\n")
            # As deploy/slurm/eval.sbatch says: the same environment, the one index.
            slurm.env.update(SHARDS="3", OUT=str(out), TASKS=str(self.tasks), MODELS="\n".join(map(str, self.models)),
                             EVAL_FLAGS=f"--against\n{NANO}")
            again = slurm.run("sbatch", "--parsable", "--array=1", f"--output={out}/slurm-again.log",
                              "--cpus-per-task=1", SOURCE / "deploy/slurm/eval.sbatch").stdout.strip()
            self.wait(slurm, again)
            self.assertGreater(journal.read_bytes().count(b"\n"), lines, self.logs(out))
            keys = [line.split(b'"value"')[0] for line in journal.read_bytes().splitlines()]
            self.assertEqual(len(keys), len(set(keys)), "nothing is done twice")
            self.expect(OK, "eval", "--merge", out)
            self.assertEqual((out / "results.json").read_bytes(), want)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"SKIP: {reason}")
        sys.exit(77)
    os.umask(0o022)
    unittest.main()
