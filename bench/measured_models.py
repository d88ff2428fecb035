"""What the measuring scripts of bench/ share: running a step, and float models to measure against."""
import json
import os
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "thimble"
NO_INPUT = 77  # exit status of scripts/get_*: what they fetch cannot be had here


class Skip(Exception):
    """Nothing to work with; says why."""


def run(*command, allowed=(0,)):
    """Standard output of a program. Skip for NO_INPUT; ends the script for an exit status that is not allowed."""
    print("  $", " ".join(str(c) for c in command), flush=True)
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if done.returncode == NO_INPUT:
        raise Skip(f"{command[0]}: nothing to work with")
    if done.returncode not in allowed:
        sys.exit(f"{command[0]}: exit {done.returncode}")
    return done.stdout


def model_folder(name):
    """Where everything made from a model is kept."""
    folder = CACHE / "quantization" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def float_model(name, build, thimble):
    """GGUF of the float model, made when it is missing. `build`: folder; `thimble`: the program and its options."""
    target = model_folder(name) / "float.gguf"
    if target.exists():
        return target
    if name == "nano":
        run(*thimble, "convert", SOURCE / "models/nano/hf", "-o", target)
    else:
        original = run(SOURCE / "scripts/get_model", name).strip().splitlines()[-1]
        run(build / "bench/quantization/thimble_float_reference", original, target)
    return target


def every_nth_item(tasks, n, folder):
    """The folder `tasks` with every n-th item of each task, from the first: made in `folder` where n is above 1."""
    if n == 1:
        return tasks
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(tasks.glob("*.task.json")):
        task = json.loads(source.read_text())
        lines = (tasks / task["data"]).read_text().splitlines(keepends=True)
        (folder / task["data"]).write_text("".join(lines[::n]))
        del task["sha256"]  # of all items
        (folder / source.name).write_text(json.dumps(task, indent=1) + "\n")
    return folder
