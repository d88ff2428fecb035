"""Runs the thimble program for the command line tests. Python 3 standard library only."""
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

THIMBLE = os.environ["THIMBLE"]
SOURCE = pathlib.Path(os.environ["THIMBLE_SOURCE"])
NANO = pathlib.Path(os.environ["THIMBLE_NANO"])

# apps/thimble/exit_codes.h
OK, USAGE, NOT_FOUND, CORRUPT, UNSUPPORTED, EXHAUSTED, IO, DOES_NOT_FIT, CANNOT_TELL, CANCELLED = 0, 2, 3, 4, 5, 6, 7, 10, 11, 130


def limit_file_size(n_bytes):
    """For preexec_fn: writes beyond n_bytes fail as on a full disk."""
    def apply():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
    return apply


def copy_task(folder, name, n_items):
    """The first items of a task of models/nano."""
    task = json.loads((SOURCE / f"tasks/nano/{name}.task.json").read_text())
    del task["sha256"]  # of all items
    (folder / f"{name}.task.json").write_text(json.dumps(task))
    lines = (SOURCE / f"tasks/nano/{name}.eval.jsonl").read_text().splitlines(keepends=True)
    (folder / f"{name}.eval.jsonl").write_text("".join(lines[:n_items]))


class CliTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="thimble_cli_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def run_thimble(self, *args, **kwargs):
        kwargs.setdefault("timeout", 600)
        return subprocess.run([THIMBLE, *map(str, args)], capture_output=True, text=True, errors="replace", **kwargs)

    def expect(self, code, *args, **kwargs):
        """Runs, requires the exit code and, for failures, a one-line message on standard error. Gives the process."""
        done = self.run_thimble(*args, **kwargs)
        self.assertEqual(done.returncode, code, f"{args}\nstdout: {done.stdout[-2000:]}\nstderr: {done.stderr[-2000:]}")
        if code not in (OK, DOES_NOT_FIT, CANNOT_TELL):
            self.assertTrue(done.stderr.strip(), "a failure says why")
        return done

    def json(self, *args, code=OK, **kwargs):
        return json.loads(self.expect(code, "--json", *args, **kwargs).stdout)

    def files(self):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file())

    def start(self, *args):
        return subprocess.Popen([THIMBLE, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_until(self, condition, process):
        """Polls until `condition()`; the process must still be running then."""
        while not condition():
            self.assertIsNone(process.poll(), process.stderr.read() if process.poll() is not None else "")
            time.sleep(0.005)
