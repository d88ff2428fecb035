#!/usr/bin/env python3
"""Compares Thimble with stock llama.cpp: same prompt ids, 32 greedy tokens.

Usage: interop_test.py nano | synthetic | schemes | imatrix | folds | calibrated | imports | smollm2 | qwen
Environment: THIMBLE (the program), THIMBLE_GREEDY (tests/interop/greedy.cpp), THIMBLE_NANO (models/nano as F16 GGUF),
THIMBLE_SOURCE, THIMBLE_STOCK_FIDELITY (bench/quantization/stock_fidelity.cpp). Stock llama.cpp comes from scripts/get_peer, SmolLM2 and Qwen2.5-Coder from scripts/get_model; exit status 77 with the reason
when either cannot be fetched.

The rule: where the two programs first choose different tokens, the difference counts only when Thimble's logits of the
two are further apart than TIE.

Which stock llama.cpp: its AVX2 build ("haswell"), on every machine. With quantized weights activations are rounded to int8, and
one float that differs in its last bit flips roundings that the layers amplify to the whole int8 noise. Stock's own builds
therefore disagree: on SmolLM2's Q4_1 file its AVX2 and Zen 4 builds choose different tokens on 6 of these 10 prompts, at gaps up
to 0.31. A reference must not depend on the machine that CI happens to get. For quantized files the test therefore asks that they
load there and speak alike (TIE_INT8): SmolLM2's Q4_1 differs from the AVX2 build on 5 of 10 prompts, at gaps up to 0.32, as far as
stock's builds do from each other. The strict rule holds for the same weights as F16, where nothing is rounded to int8.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pack_int4

SOURCE = pathlib.Path(os.environ["THIMBLE_SOURCE"])
HERE = pathlib.Path(__file__).resolve().parent
TIE = 0.05
TIE_INT8 = 0.5
STEPS = 32

TEXTS = [
    "Once upon a time there was a little girl", "The king said to the miller's daughter:", "It was a dark night and",
    "\"What is the matter?\" said the", "The history of the world began", "Alice opened the door and found that",
    "In the middle of the forest stood", "He gave her a piece of bread and", "They went on and on until they came to",
    "There was once a poor woodcutter who",
]
CHATS = [
    "What is the capital of France?", "Write one sentence about the sea.", "Name three colours.", "What is 12 plus 30?",
    "Translate 'good morning' to Spanish.", "Who wrote Romeo and Juliet?", "Why is the sky blue?",
    "Give me a recipe for pancakes.", "Explain gravity to a child.", "Tell me a short joke.",
]
CODE = [
    "Write a Python function that checks whether a number is prime.", "Write a C function that reverses a string in place.",
    "What does `git rebase` do?",
]
# src/quantize/scheme.h
SCHEMES = ["f16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "iq4_nl", "q4_1", "q4_0", "iq4_xs", "q3_k_m", "q2_k"]


def run(*command, stdin=None):
    return subprocess.run([str(c) for c in command], input=stdin, capture_output=True, text=True, timeout=600)


def must(done):
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(done.args)}\nexit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def fetch(script, *arguments):
    """Path that a scripts/get_* prints; ends the test with 77 and its reason when there is none."""
    done = run(SOURCE / "scripts" / script, *arguments)
    if done.returncode == 77:
        print(done.stderr.strip())
        sys.exit(77)
    return must(done).strip().splitlines()[-1]


def avx2_build(peer, folder):
    """A copy of stock llama.cpp whose loader finds no CPU library beyond AVX2 ("haswell")."""
    modules = folder / "peer" / "node_modules"
    scope = "@node-llama-cpp"
    (modules / scope).mkdir(parents=True)
    for entry in (pathlib.Path(peer) / "node_modules").iterdir():
        # node resolves links, so the package that looks for the libraries must be a real copy.
        if entry.name == "node-llama-cpp":
            shutil.copytree(entry, modules / entry.name, symlinks=True)
        elif entry.name != scope:
            (modules / entry.name).symlink_to(entry)
    beyond = [f"libggml-cpu-{name}.so" for name in ("alderlake", "cannonlake", "cascadelake", "cooperlake", "icelake",
                                                   "piledriver", "sapphirerapids", "skylakex", "zen4")]
    shutil.copytree(pathlib.Path(peer) / "node_modules" / scope / "linux-x64", modules / scope / "linux-x64",
                    ignore=shutil.ignore_patterns(*beyond))
    return folder / "peer"


def peer_tokens(peer, model, ids):
    return json.loads(must(run("node", HERE / "peer.mjs", "generate", model, "--from", peer, "--threads", 1,
                               "--tokens", ",".join(map(str, ids)), "--generate", STEPS)))["tokens"]


def greedy(model, requests):
    return json.loads(must(run(os.environ["THIMBLE_GREEDY"], model, stdin=json.dumps(requests))))


def compare(peer, model, requests, tie=TIE):
    """Returns the number of prompts that differ, printing each difference and each tie."""
    failures = 0
    for request, ours in zip(requests, greedy(model, requests)):
        name = json.dumps(next(iter(request.values())))[:48]
        theirs = peer_tokens(peer, model, ours["ids"])
        mine = [step["token"] for step in ours["steps"]]
        # Stock llama.cpp leaves out the token that ends the answer.
        ended = len(theirs) < STEPS and ours["steps"][len(theirs)]["eog"]
        first = next((i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b), None)
        if first is not None:
            step = greedy(model, [{"ids": ours["ids"], "follow": theirs[:first + 1]}])[0]["steps"][first]
            verdict = "tie" if step["gap"] <= tie else "DIFFERENT"
            print(f"{verdict}: {name} step {first}: {mine[first]} here, {theirs[first]} there, "
                  f"logits {step['gap']:.4f} apart")
            failures += step["gap"] > tie
        elif len(theirs) < STEPS and not ended:
            print(f"DIFFERENT: {name} ended there after {len(theirs)} tokens, goes on here")
            failures += 1
        else:
            print(f"equal: {name} {len(theirs)} tokens")
    return failures


def test_nano(peer, folder):
    return compare(peer, os.environ["THIMBLE_NANO"], [{"text": t} for t in TEXTS])


def test_synthetic(peer, folder):
    """Random models with what nano lacks: qwen2 (biases, tied head, rope over halves), rope scaling and factors."""
    failures = 0
    for architecture in ("llama", "qwen2"):
        model = folder / f"{architecture}.gguf"
        must(run(os.environ["THIMBLE_GREEDY"], "--synthetic", architecture, model))
        requests = [{"ids": [1] + [3 + (17 * i + 31 * j) % 500 for j in range(5 + 9 * i)]} for i in range(10)]
        failures += compare(peer, model, requests)
    return failures


def test_schemes(peer, folder):
    """Every scheme's file must load in stock llama.cpp and speak there as here."""
    failures = 0
    for scheme in SCHEMES:
        model = folder / f"{scheme}.gguf"
        must(run(os.environ["THIMBLE"], "--quiet", "quantize", os.environ["THIMBLE_NANO"], model, "--scheme", scheme))
        print(f"{scheme}:")
        failures += compare(peer, model, [{"text": TEXTS[0]}], TIE if scheme == "f16" else TIE_INT8)
    return failures


def compare_folded(peer, model, folded, requests):
    """Stock's own tokens on both files. Where they differ, Thimble's logits of the original say whether it was a tie."""
    failures = 0
    for request, ours in zip(requests, greedy(model, requests)):
        name = json.dumps(next(iter(request.values())))[:48]
        before, after = peer_tokens(peer, model, ours["ids"]), peer_tokens(peer, folded, ours["ids"])
        first = next((i for i, (a, b) in enumerate(zip(before, after)) if a != b), None)
        if first is None:
            print(f"{'equal' if len(before) == len(after) else 'DIFFERENT'}: {name} {len(before)} and {len(after)} tokens")
            failures += len(before) != len(after)
            continue
        follow = [before[:first + 1], after[:first + 1]]
        gaps = [greedy(model, [{"ids": ours["ids"], "follow": f}])[0]["steps"][first]["gap"] for f in follow]
        print(f"{name} step {first}: {before[first]} before, {after[first]} folded, logits {gaps[1] - gaps[0]:.4f} apart")
        failures += abs(gaps[1] - gaps[0]) > TIE
    return failures


def test_folds(peer, folder):
    """Factors at every place (biases, grouped queries, tied heads) leave stock's answers as they are, and Q8_0 of it loads."""
    failures = 0
    for architecture in ("llama", "qwen2"):
        model = folder / f"{architecture}.gguf"
        must(run(os.environ["THIMBLE_GREEDY"], "--synthetic", architecture, model))
        must(run(os.environ["THIMBLE_GREEDY"], "--fold", model, folder / f"{architecture}-folded.gguf"))
        requests = [{"ids": [1] + [3 + (17 * i + 31 * j) % 500 for j in range(5 + 9 * i)]} for i in range(5)]
        failures += compare_folded(peer, model, folder / f"{architecture}-folded.gguf", requests)
    folded, q8_0 = folder / "nano-folded.gguf", folder / "q8_0.gguf"
    must(run(os.environ["THIMBLE_GREEDY"], "--fold", os.environ["THIMBLE_NANO"], folded))
    failures += compare_folded(peer, os.environ["THIMBLE_NANO"], folded, [{"text": t} for t in TEXTS[:5]])
    must(run(os.environ["THIMBLE"], "--quiet", "quantize", folded, q8_0, "--scheme", "q8_0"))
    return failures + compare(peer, q8_0, [{"text": t} for t in TEXTS[:3]], TIE_INT8)


def test_calibrated(peer, folder):
    """Stock measures the same divergence of what second moments, folds and the allocator made. The float model's part of it is the
    same on both sides; what is left are roundings of activations, 2 % at most here."""
    thimble, nano, calibration = os.environ["THIMBLE"], os.environ["THIMBLE_NANO"], folder / "calib.thimble"
    generic = SOURCE / "models/nano/text/calib_generic.txt"
    must(run(thimble, "-q", "calibrate", nano, "--data", generic, "--samples", 48, "-o", calibration))
    text = folder / "text.txt"
    text.write_bytes((SOURCE / "models/nano/text/heldout.txt").read_bytes()[:12000])
    libraries = peer / "node_modules" / "@node-llama-cpp" / "linux-x64" / "bins" / "linux-x64"
    failures = 0
    for flags in (["--scheme", "q4_k_m"], ["--scheme", "iq4_xs", "--method", "gptq"], ["--scheme", "q4_0", "--method", "gptq_cd"],
                  ["--scheme", "iq4_xs", "--method", "search", "--fold", "awq"], ["--scheme", "q8_0", "--fold", "smooth"],
                  ["--scheme", "q4_1", "--hot-weights=q8_0", "--method", "search"], ["--scheme", "q3_k_m"], ["--scheme", "q5_k_m"],
                  ["--target-body-bpw", "4.4", "--quick", "--data", str(generic), "--sensitivity-tokens", "512"]):
        model = folder / "model.gguf"
        must(run(thimble, "-q", "quantize", nano, model, "--calibration", calibration, *flags))
        ours = json.loads(must(run(thimble, "-q", "--json", "eval", model, "--text", text, "--against", nano)))["divergence"]["mean_kl"]
        stock = json.loads(must(run(os.environ["THIMBLE_STOCK_FIDELITY"], libraries, nano, model, text, 512)))["mean_kl"]
        failed = not abs(ours - stock) <= 0.02 * stock
        print(f"{' '.join(flags)}: KL {ours:.6f}, stock {stock:.6f}{'  DIFFERS' if failed else ''}")
        failures += failed
    return failures


def test_imports(peer, folder):
    """models/nano packed as GPTQ and as AWQ int4: what is imported must load in stock llama.cpp and speak there as here, as
    blocks and, where nothing is rounded to int8, de-quantized."""
    failures = 0
    for kind, group, symmetric, expected in (("gptq", 32, True, "q4_0"), ("awq", 128, False, "q4_1")):
        packed = folder / kind
        pack_int4.pack_folder(SOURCE / "models/nano/hf", packed, kind, group, symmetric)
        model = folder / f"{kind}.gguf"
        done = must(run(os.environ["THIMBLE"], "--quiet", "--json", "convert", packed, "-o", model))
        types = {tensor["type"] for tensor in json.loads(done)["imported"]}
        print(f"{kind}, groups of {group}: {types}")
        failures += types != {expected}
        requests = [{"text": t} for t in TEXTS[:4]]
        failures += compare(peer, model, requests, TIE_INT8)
        floats = folder / f"{kind}-f32.gguf"
        must(run(os.environ["THIMBLE"], "--quiet", "convert", packed, "-o", floats, "--type", "f32"))
        print("the same de-quantized:")
        failures += compare(peer, floats, requests)
    return failures


def test_qwen(peer, folder):
    """Qwen2.5-Coder-1.5B-Instruct, Q4_K_M: greedy answers to questions about code."""
    return compare(peer, fetch("get_model", "qwen2.5-coder-1.5b"), [{"chat": t} for t in CODE], TIE_INT8)


def test_imatrix(peer, folder):
    """Importance matrices: stock's reader on ours, ours on what stock's library writes."""
    imatrix = folder / "imatrix.gguf"
    must(run(os.environ["THIMBLE"], "--quiet", "calibrate", os.environ["THIMBLE_NANO"], "--data", SOURCE / "tasks" / "nano",
             "--samples", 8, "--no-hessian", "-o", folder / "calib.thimble", "--imatrix", imatrix))
    libraries = peer / "node_modules" / "@node-llama-cpp" / "linux-x64" / "bins" / "linux-x64"
    reader = subprocess.run([os.environ["THIMBLE_IMATRIX_READER"], libraries, imatrix, folder / "stock.gguf"],
                            capture_output=True, text=True, timeout=60, env={**os.environ, "LD_LIBRARY_PATH": str(libraries)})
    print(reader.stdout + reader.stderr, end="")
    return reader.returncode


def test_smollm2(peer, folder):
    """The file as it is, and the same weights as F16."""
    model = pathlib.Path(fetch("get_model"))
    requests = [{"chat": t} for t in CHATS]
    print("Q4_1:")
    failures = compare(peer, model, requests, TIE_INT8)
    print("the same weights as F16:")
    must(run(os.environ["THIMBLE_GREEDY"], "--float", model, folder / "f16.gguf"))
    return failures + compare(peer, folder / "f16.gguf", requests)


def main():
    test = {"nano": test_nano, "synthetic": test_synthetic, "schemes": test_schemes, "imatrix": test_imatrix, "folds": test_folds,
            "calibrated": test_calibrated, "imports": test_imports, "smollm2": test_smollm2, "qwen": test_qwen}[sys.argv[1]]
    peer = fetch("get_peer")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        failures = test(avx2_build(peer, folder), folder)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
