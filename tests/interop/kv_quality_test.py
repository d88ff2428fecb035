#!/usr/bin/env python3
"""int8 keys and values beside f16 ones at long context: KL divergence on text and on greedy answers, token by token.

Usage: kv_quality_test.py nano | smollm2
Environment: THIMBLE_KV_QUALITY (tests/interop/kv_quality.cpp), THIMBLE_GREEDY, THIMBLE_NANO, THIMBLE_SOURCE. SmolLM2 comes from
scripts/get_model; exit status 77 with the reason when it cannot be fetched. It is measured with its weights as F16: beside
quantized weights activations are rounded to int8, which turns any difference in the last bit into noise larger than
what is measured here.

Averages hide gibberish, so three things must hold: the average is small, no single token is far off, and every token of an answer
is the one that f16 chose, or a tie. The same run with the scales of one layer doubled must fail.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(os.environ["THIMBLE_SOURCE"])
TEXT = SOURCE / "models/nano/text/heldout.txt"
MEAN_KL = 1e-3  # nats per token: the promise
MAX_KL = 0.1    # of a single token
TIE = 0.05      # logits: what tests/interop/interop_test.py calls a tie
DAMAGE = 2


def must(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=900)
    if done.returncode == 77:
        print(done.stderr.strip())
        sys.exit(77)
    if done.returncode != 0:
        raise AssertionError(f"{command}\nexit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def problems(figures):
    """What is wrong with the figures of one run, as a list of sentences."""
    found = []
    for part in ("text", "answers"):
        if not figures[part]["mean_kl"] < MEAN_KL:
            found.append(f"{part}: mean KL {figures[part]['mean_kl']:.2e}, at most {MEAN_KL}")
        if not figures[part]["max_kl"] < MAX_KL:
            found.append(f"{part}: a token with KL {figures[part]['max_kl']:.3f}, at most {MAX_KL}")
    different = [gap for gap in figures["answers"]["gaps"] if gap > TIE]
    if different:
        found.append(f"answers: {len(different)} differ, logits up to {max(different):.3f} apart")
    return found


def measure(*arguments):
    figures = json.loads(must([os.environ["THIMBLE_KV_QUALITY"], *arguments]))
    shown = {part: {k: v for k, v in figures[part].items() if k != "gaps"} for part in figures}
    print(json.dumps({**shown, "worst_gap": max(figures["answers"]["gaps"])}))
    return figures


def check(runs):
    failures = 0
    for run in runs:
        for problem in problems(measure(*run)):
            print("FAILED:", problem)
            failures += 1
    control = problems(measure(*runs[0], "--damage", DAMAGE))
    print("control:", "; ".join(control) or "NOT NOTICED")
    return failures + (0 if control else 1)


def main():
    if sys.argv[1] == "nano":
        tasks = [SOURCE / f"tasks/nano/{task}.eval.jsonl" for task in ("meeting", "menu", "commit")]
        failures = check([[os.environ["THIMBLE_NANO"], TEXT, 512, "--prompts", task, "--items", 40] for task in tasks])
    else:
        model = must([SOURCE / "scripts/get_model"]).strip().splitlines()[-1]
        with tempfile.TemporaryDirectory() as folder:
            f16 = pathlib.Path(folder) / "f16.gguf"
            must([os.environ["THIMBLE_GREEDY"], "--float", model, f16])
            failures = check([[f16, TEXT, 2048, "--question", "Who are the people in this story?"]])
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
