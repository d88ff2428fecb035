#!/usr/bin/env python3
"""Speed of quantizing: Thimble beside stock llama.cpp on the same cores, alternating repetitions, medians.

Usage: bench/quantization/encode_speed.py types [--reps 5] [--bench build/release/bench/thimble_quantize_bench]
       bench/quantization/encode_speed.py model FLOAT.gguf [--imatrix FILE] [--reps 5] [--threads 2] [--scheme q4_k_m]
                                          [--program build/release/apps/thimble/thimble] [--folder FOLDER]
types: nanoseconds per weight of every type on one thread, without and with importance (stock: ggml_quantize_chunk).
model: seconds of the whole program, file to file (stock: llama_model_quantize, which llama-quantize is a shell of; its importance is
read before the clock starts).
Stock is libggml-base and libllama of the npm package that scripts/get_peer installs; --libraries names another folder.
"""
import argparse
import ctypes
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(SOURCE / "scripts"))
import stock_llama  # noqa: E402

TYPE_IDS = {"q8_0": 8, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q2_k": 10, "q3_k": 11, "q4_k": 12, "q5_k": 13,
            "q6_k": 14, "iq4_nl": 20, "iq4_xs": 23}
ROWS, COLUMNS = 16, 2048


def library(folder, pattern):
    found = sorted(pathlib.Path(folder).glob(pattern))
    if not found:
        sys.exit(f"{folder}: no {pattern}")
    return str(found[0])


def peer_libraries():
    peer = subprocess.run([SOURCE / "scripts/get_peer"], check=True, capture_output=True, text=True).stdout.split()[-1]
    return pathlib.Path(peer) / "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"


def stock_types(folder, out):
    """{(type, with importance): ns per weight} of one pass."""
    ggml = ctypes.CDLL(library(folder, "libggml-base*"))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                         ctypes.c_int64, ctypes.c_void_p]
    rng = random.Random(1)
    x = (ctypes.c_float * (ROWS * COLUMNS))(*[rng.gauss(0, 0.05) for _ in range(ROWS * COLUMNS)])
    importance = (ctypes.c_float * COLUMNS)(*[0.05 + rng.gauss(0, 1)**2 for _ in range(COLUMNS)])
    blocks = ctypes.create_string_buffer(ROWS * COLUMNS * 4)
    for name, type_id in TYPE_IDS.items():
        for weights in (None, importance):
            best = float("inf")
            for _ in range(3):
                start = time.thread_time()
                ggml.ggml_quantize_chunk(type_id, x, blocks, 0, ROWS, COLUMNS, weights)
                best = min(best, time.thread_time() - start)
            out.setdefault((name, weights is not None), []).append(best / (ROWS * COLUMNS) * 1e9)


def our_types(program, out):
    best = {}
    for line in subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()[1:]:
        name, isa, plain, weighted, _ = line.split()
        for key, value in (((name, False), float(plain)), ((name, True), float(weighted))):
            best[key] = min(best.get(key, float("inf")), value)  # the best instruction set
    for key, value in best.items():
        out.setdefault(key, []).append(value)


def run_types(options):
    stock, ours = {}, {}
    for _ in range(options.reps):
        stock_types(options.libraries, stock)
        our_types(options.bench, ours)
    print(f"{'type':8} {'importance':10} {'stock':>8} {'thimble':>8}  times as fast (ns/weight, one thread)")
    for key in stock:
        theirs, mine = statistics.median(stock[key]), statistics.median(ours[key])
        print(f"{key[0]:8} {'yes' if key[1] else 'no':10} {theirs:8.2f} {mine:8.2f}  {theirs / mine:.1f}")


def stock_model(options):
    """Runs in a process of its own (verb stock-model), which prints its seconds."""
    importance = stock_llama.read_importance(options.imatrix) if options.imatrix else None
    llama = stock_llama.load(str(options.libraries))
    start = time.monotonic()
    stock_llama.quantize(llama, options.model, options.output, options.scheme, importance, options.threads)
    print(time.monotonic() - start)


def run_model(options):
    me = [sys.executable, __file__]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        output = os.path.join(folder, "out.gguf")
        imatrix = ["--imatrix", options.imatrix] if options.imatrix else []
        commands = {
            "stock": me + ["stock-model", options.model, "--output", output, "--scheme", options.scheme, "--threads",
                           str(options.threads), "--libraries", str(options.libraries), *imatrix],
            "thimble": [options.program, "--threads", str(options.threads), "--quiet", "quantize", options.model, output,
                        "--scheme", options.scheme, *imatrix],
        }
        seconds = {name: [] for name in commands}
        for _ in range(options.reps):
            for name, command in commands.items():
                if options.only not in ("", name):
                    continue
                start, used = time.monotonic(), os.times()
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                seconds[name].append(float(said) if name == "stock" else time.monotonic() - start)
                now = os.times()
                busy = now.children_user - used.children_user + now.children_system - used.children_system
                print(f"{name}: {seconds[name][-1]:.2f} s, {busy:.2f} s of processors, {os.path.getsize(output)} bytes",
                      flush=True)
                os.remove(output)
    if all(seconds.values()):
        theirs, mine = statistics.median(seconds["stock"]), statistics.median(seconds["thimble"])
        print(f"{options.scheme}, {options.threads} threads: stock {theirs:.2f} s, thimble {mine:.2f} s, "
              f"{theirs / mine:.1f} times as fast")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["types", "model", "stock-model"])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scheme", choices=stock_llama.SCHEMES, default="q4_k_m")
    parser.add_argument("--imatrix", help="importance matrix in llama.cpp's GGUF form, for both")
    parser.add_argument("--only", choices=["", "stock", "thimble"], default="", help="time one side (long models)")
    parser.add_argument("--bench", default=SOURCE / "build/release/bench/thimble_quantize_bench")
    parser.add_argument("--program", default=SOURCE / "build/release/apps/thimble/thimble")
    parser.add_argument("--libraries", help="folder of libggml-base and libllama")
    parser.add_argument("--folder", default=None, help="folder for the quantized file, which is deleted")
    parser.add_argument("--output", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.libraries = options.libraries or peer_libraries()
    if options.what != "types" and not options.model:
        parser.error("expected a float GGUF")
    {"types": run_types, "model": run_model, "stock-model": stock_model}[options.what](options)


if __name__ == "__main__":
    main()
