#!/usr/bin/env python3
"""Counts the instructions that matmul kernels execute per weight on 64-bit ARM, ours and stock llama.cpp's.

Both run under qemu-user, which logs every instruction executed inside the program or library that holds the kernel
(-singlestep -d exec,nochain -dfilter). A run with two calls minus a run with one leaves exactly one call. Prints the
tables of docs/performance/arm.md.

  bench/arm/count_instructions.py [--build build/aarch64] [--types q4_k,q6_k]

Needs the aarch64 preset's build folder (configured), qemu-aarch64, setarch, npm, and a network for the first run.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
STOCK_PACKAGE = "@node-llama-cpp/linux-arm64@3.22.1"
ROWS, K, COLUMNS = 64, 2048, 16

# Types in the order of the table: bytes per block, elements per block, and the activation type of stock llama.cpp.
TYPES = {
    "q4_k": (144, 256, "q8_K"),
    "q5_k": (176, 256, "q8_K"),
    "q6_k": (210, 256, "q8_K"),
    "q2_k": (84, 256, "q8_K"),
    "q3_k": (110, 256, "q8_K"),
    "iq4_xs": (136, 256, "q8_K"),
    "q8_0": (34, 32, "q8_0"),
    "q4_0": (18, 32, "q8_0"),
    "q4_1": (20, 32, "q8_1"),
    "q5_0": (22, 32, "q8_0"),
    "q5_1": (24, 32, "q8_1"),
    "iq4_nl": (18, 32, "q8_0"),
}
PLAIN_TYPES = ("f32", "f16", "bf16")
# Bytes per block of activations: block_q8_K, block_q8_0 and block_q8_1 of ggml-common.h.
ACTIVATION_BYTES = {"q8_K": (292, 256), "q8_0": (34, 32), "q8_1": (36, 32)}

# Machines: qemu's CPU, our instruction set, and the library that stock llama.cpp's loader takes there (ggml_backend_score
# of each is asked, the highest wins). sve-max-vq=1 is a vector length of 128 bits, that of Neoverse N2 and Cortex-X.
MACHINES = [
    ("cortex-a72", "neon"),
    ("cortex-a76", "neon_dotprod"),
    ("max,sve=off,sme=off", "neon_i8mm"),
    ("max,sve-max-vq=1", "neon_i8mm"),
]

# What ggml_repack_get_optimal_repack_type (ggml-cpu/repack.cpp, v0.5.0) chooses for 64 rows on ARM without 256-bit SVE;
# a type that is not repacked is multiplied row by row with ggml_vec_dot.
REPACKED = {
    "dotprod": {"q4_0": "q4_0_4x4", "q8_0": "q8_0_4x4", "iq4_nl": "iq4_nl_4x4",
                "q4_k": "q4_K_8x4", "q5_k": "q5_K_8x4", "q6_k": "q6_K_8x4"},
    "i8mm": {"q4_0": "q4_0_4x8", "q8_0": "q8_0_4x8", "iq4_nl": "iq4_nl_4x4",
             "q4_k": "q4_K_8x8", "q5_k": "q5_K_8x8", "q6_k": "q6_K_8x8"},
    "none": {"iq4_nl": "iq4_nl_4x4"},
}
# Part of a library's name -> key of REPACKED; first match.
FEATURES = [("armv8.0", "none"), ("armv8.2", "dotprod"), ("armv8.6", "i8mm"), ("armv9.2", "i8mm")]
# Types whose ggml_vec_dot takes two rows and two columns where 8-bit matrix products exist (type_traits_cpu.nrows).
TWO_ROWS = {"q4_0", "q4_1", "q8_0", "q4_k", "q6_k"}


def stock_folder():
    """The folder of stock llama.cpp's aarch64 libraries, fetched into the cache on first use."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    folder = cache / "thimble" / "peer-arm64-3.22.1"
    bins = "node_modules/@node-llama-cpp/linux-arm64/bins/linux-arm64"
    if not (folder / bins / "libggml-base.so").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.mkdtemp(dir=folder.parent)
        # --force: the package is for another machine than this one, and nothing of it is run here natively.
        subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--force", STOCK_PACKAGE],
                       cwd=scratch, check=True, timeout=900)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(scratch, folder)
    return folder / bins


class Counter:
    def __init__(self, build):
        self.ours = build / "bench/arm/thimble_count_ours"
        self.stock = build / "bench/arm/thimble_count_stock"

    # Words that the program prints, or None when it fails. Without address randomization, so that the next run lies where
    # this one said.
    def run(self, cpu, command, trace=()):
        line = ["setarch", "-R", "qemu-aarch64", "-cpu", cpu, *trace, *map(str, command)]
        with tempfile.TemporaryFile("w+") as said:
            program = subprocess.Popen(line, stdout=said, stderr=subprocess.PIPE)
            lines = subprocess.run(["grep", "-c", "^Trace"], stdin=program.stderr, capture_output=True, text=True)
            if program.wait() != 0:
                return None, 0
            said.seek(0)
            return said.read().split(), int(lines.stdout)

    def traced(self, cpu, command, base):
        trace = ["-singlestep", "-d", "exec,nochain", "-dfilter", f"{base}+0x800000"]
        found, count = self.run(cpu, command, trace)
        if found is None or found[1] != base:
            sys.exit(f"{command}: was at {base}, then said {found}")
        return count

    # Instructions of one call per weight and column, or None when there is no such kernel.
    def per_weight(self, cpu, command, columns):
        found, _ = self.run(cpu, [*command, 0])
        if found is None:
            return None
        one, two = (self.traced(cpu, [*command, calls], found[1]) for calls in (1, 2))
        return (two - one) / (ROWS * K * columns)

    def our_kernel(self, cpu, isa, name, layout, columns):
        return self.per_weight(cpu, [self.ours, isa, name, layout, ROWS, K, columns], columns)

    # The library that stock llama.cpp's loader takes on this machine, and what its dispatcher then calls.
    def library(self, cpu, folder):
        scores = {}
        for path in sorted(folder.glob("libggml-cpu-*.so")):
            found, _ = self.run(cpu, [self.stock, path])
            scores[path] = int(found[0]) if found else 0
        return max(scores, key=scores.get)

    def stock_kernel(self, cpu, library, name, columns):
        row, per_row, activations = TYPES[name]
        column, per_column = ACTIVATION_BYTES[activations]
        features = next(f for part, f in FEATURES if part in library.name)
        if repacked := REPACKED[features].get(name):
            kind = "gemv" if columns == 1 else "gemm"
            function = f"ggml_{kind}_{repacked}_{activations}"
        else:
            kind = "dot2" if columns > 1 and features == "i8mm" and name in TWO_ROWS else "dot"
            function = f"ggml_vec_dot_{name.replace('_k', '_K')}_{activations}"
        sizes = [row * K // per_row, column * K // per_column, ROWS, K, columns]
        return kind, self.per_weight(cpu, [self.stock, library, function, kind, *sizes], columns)


def cell(value):
    return "-" if value is None else f"{value:.3f}"


def print_table(counter, folder, types, machines):
    for cpu, isa in machines:
        library = counter.library(cpu, folder)
        print(f"\n`-cpu {cpu}`: ours `{isa}`, stock `{library.name}`\n")
        print("| type | decode, packed | decode, GGUF | decode, stock | fewer | prefill, packed | prefill, stock | stock's kernel |")
        print("|---|---|---|---|---|---|---|---|")
        for name in types:
            packed = counter.our_kernel(cpu, isa, name, "packed", 1)
            plain = counter.our_kernel(cpu, isa, name, "stock", 1)
            many = counter.our_kernel(cpu, isa, name, "packed", COLUMNS)
            kind, stock = counter.stock_kernel(cpu, library, name, 1)
            _, stock_many = counter.stock_kernel(cpu, library, name, COLUMNS)
            fewer = f"{100 * (1 - packed / stock):.0f} %" if packed and stock else "-"
            print(f"| {name.upper()} | {cell(packed)} | {cell(plain)} | {cell(stock)} | {fewer} | {cell(many)} "
                  f"| {cell(stock_many)} | {'repacked' if kind == 'gemv' else 'row by row'} |", flush=True)


def print_plain_table(counter, types):
    """Weights that are stored as they are: one kernel on every machine, which reads the GGUF layout or, of two bytes, the packed one."""
    cpu, isa = MACHINES[0]
    print(f"\n`-cpu {cpu}`: ours `{isa}`\n\n| type, layout | decode | prefill, {COLUMNS} columns | prefill, 64 columns |\n|---|---|---|---|")
    for name in types:
        for layout in ("packed", "stock"):
            counts = [counter.our_kernel(cpu, isa, name, layout, n) for n in (1, COLUMNS, 64)]
            if counts[0] is not None:
                print(f"| {name.upper()}, {'GGUF' if layout == 'stock' else layout} |" + "".join(f" {cell(n)} |" for n in counts), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/aarch64", help="folder of the aarch64 preset")
    parser.add_argument("--types", default=",".join([*TYPES, *PLAIN_TYPES]), help="comma-separated weight types")
    parser.add_argument("--cpus", help="start of the names of the machines to run, for a part of the table")
    options = parser.parse_args()
    targets = ["thimble_count_ours", "thimble_count_stock"]
    subprocess.run(["ninja", "-C", options.build, *targets], check=True, stdout=subprocess.DEVNULL)
    machines = [m for m in MACHINES if not options.cpus or m[0].startswith(options.cpus)]
    counter, types = Counter(options.build), options.types.split(",")
    if quantized := [t for t in types if t not in PLAIN_TYPES]:
        print_table(counter, stock_folder(), quantized, machines)
    if plain := [t for t in types if t in PLAIN_TYPES]:
        print_plain_table(counter, plain)


if __name__ == "__main__":
    main()
