#!/usr/bin/env python3
"""Speed beside stock llama.cpp: same file, same threads, alternating repetitions in one run; prints medians and ratios.

Usage: bench/compare_with_stock.py [MODEL.gguf | --shape tinyllama-1.1b --type q4_k_m] [--threads 2] [--prompt 512]
       [--generate 64] [--reps 5]
Needs build/release and scripts/get_peer (npm). A shape is random weights with a vocabulary, written to the cache folder.
Only the ratios mean anything: machines are shared and their memory bandwidth drifts within minutes.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent
THIMBLE = SOURCE / "build/release/apps/thimble/thimble"
PEER = SOURCE / "tests/interop/peer.mjs"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "thimble"


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode == 77:
        sys.exit(done.stderr.strip())
    if done.returncode != 0:
        sys.exit(f"{' '.join(done.args)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?")
    parser.add_argument("--shape", default="tinyllama-1.1b")
    parser.add_argument("--type", default="q4_k_m")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--prompt", default="512")
    parser.add_argument("--generate", default="64")
    parser.add_argument("--reps", type=int, default=5)
    options = parser.parse_args()

    peer = run(SOURCE / "scripts/get_peer").strip()
    model = options.model
    if model is None:
        CACHE.mkdir(parents=True, exist_ok=True)
        model = CACHE / f"random-{options.shape}-{options.type}.gguf"
        if not model.exists():
            run(THIMBLE, "-q", "bench", "--shape", options.shape, "--type", options.type, "-p", 1, "-n", 1, "-r", 1,
                "--save", model)

    speeds = {(who, what): [] for who in ("thimble", "stock") for what in ("prefill", "decode")}
    for _ in range(options.reps):
        ours = json.loads(run(THIMBLE, "--json", "-q", "-t", options.threads, "bench", model, "-p", options.prompt, "-n",
                              options.generate, "-r", 1))
        theirs = json.loads(run("node", PEER, "bench", model, "--from", peer, "--threads", options.threads, "--prompt",
                                options.prompt, "--generate", options.generate, "--reps", 1))
        for what in ("prefill", "decode"):
            speeds["thimble", what].append(ours[f"{what}_tokens_per_s"]["median"])
            speeds["stock", what].append(theirs[f"{what}_tokens_per_s"]["median"])
        system = theirs["system"]
    print(f"{pathlib.Path(model).name}, {options.threads} threads, {options.reps} alternating repetitions")
    print(f"stock llama.cpp: {system}")
    print(f"{'tokens/s':10} {'thimble':>10} {'stock':>10} {'ratio':>8}   ratio of each pair")
    for what in ("prefill", "decode"):
        ours, theirs = speeds["thimble", what], speeds["stock", what]
        pairs = " ".join(f"{a / b:.2f}" for a, b in zip(ours, theirs))
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"{what:10} {a:10.1f} {b:10.1f} {a / b:8.2f}   {pairs}")


if __name__ == "__main__":
    main()
