#!/usr/bin/env python3
"""The performance table of docs/PERFORMANCE.md: Thimble beside stock llama.cpp, same file, same threads, alternating
repetitions in one run, medians.

Usage: bench/performance_table.py [--only ROW,...] [--reps 5] [--program build/release/apps/thimble/thimble]
       [--store build/performance.json] [--list] [--print]
Rows measured by earlier calls are kept in the store, so that each call can stay short; --print only prints it.
Needs scripts/get_peer (npm). Models are random weights of named shapes with a vocabulary, written to the cache folder once.
Only what was measured within the same row is comparable: machines are shared and their memory bandwidth drifts within minutes.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parent.parent
PEER = SOURCE / "tests/interop/peer.mjs"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "thimble"
TYPE = "q4_k_m"
SMALL, LARGE = "tinyllama-1.1b", "mistral-7b"
PROMPT = 512  # of the prefill rows
SHORT = 16    # context before the decode rows
LONG = 4096   # context of the context rows
# Libraries of stock llama.cpp that it must not find, so that it runs as on a machine without the rest.
NO_AMX = ["sapphirerapids"]
NO_AVX512 = NO_AMX + ["alderlake", "cannonlake", "cascadelake", "cooperlake", "icelake", "piledriver", "skylakex", "zen4"]


class Skip(Exception):
    pass


def run(command):
    """Runs a command; gives its output, its seconds and its peak memory in bytes."""
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        out.seek(0)
        err.seek(0)
        if process.returncode == 77:
            raise Skip(err.read().strip())
        if process.returncode != 0:
            sys.exit(f"{' '.join(process.args)}: exit {process.returncode}: {err.read().strip()}")
        return out.read(), seconds, usage.ru_maxrss * 1024  # Linux counts kibibytes


class Bench:
    def __init__(self, options, folder):
        self.program, self.reps, self.folder = options.program, options.reps, pathlib.Path(folder)
        self.peer = pathlib.Path(run([SOURCE / "scripts/get_peer"])[0].strip().splitlines()[-1])
        self.flags = next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split()

    def model(self, shape):
        CACHE.mkdir(parents=True, exist_ok=True)
        path = CACHE / f"random-{shape}-{TYPE}.gguf"
        if not path.exists():
            run([self.program, "-q", "bench", "--shape", shape, "--type", TYPE, "-p", 1, "-n", 1, "-r", 1, "--no-pack",
                 "--save", path])
        return path

    def without(self, libraries):
        """A copy of stock llama.cpp whose loader does not find these CPU libraries."""
        if not libraries:
            return self.peer
        root = self.folder / f"peer-{len(libraries)}"
        if root.exists():
            return root
        modules, scope = root / "node_modules", "@node-llama-cpp"
        (modules / scope).mkdir(parents=True)
        for entry in (self.peer / "node_modules").iterdir():
            # node resolves links, so the package that looks for the libraries must be a real copy.
            if entry.name == "node-llama-cpp":
                shutil.copytree(entry, modules / entry.name, symlinks=True)
            elif entry.name != scope:
                (modules / entry.name).symlink_to(entry)
        shutil.copytree(self.peer / "node_modules" / scope / "linux-x64", modules / scope / "linux-x64",
                        ignore=shutil.ignore_patterns(*[f"libggml-cpu-{name}.so" for name in libraries]))
        return root

    def ours(self, model, threads, prompt, generate, *more):
        return json.loads(run([self.program, "--json", "-q", "-t", threads, "bench", model, "-p", prompt, "-n", generate,
                               "-r", 1, *more])[0])

    def stock(self, model, threads, prompt, generate, libraries=(), *more):
        """Later options win: its default is one repetition."""
        return json.loads(run(["node", PEER, "bench", model, "--from", self.without(libraries), "--threads", threads,
                               "--prompt", prompt, "--generate", generate, "--reps", 1, *more])[0])

    def pairs(self, ours, stock, what):
        """Alternating repetitions of two calls: their reports and the speeds `what` of both."""
        reports, mine, theirs = [], [], []
        ours()  # packs the weights and brings the file into memory; not counted
        for _ in range(self.reps):
            reports.append(ours())
            mine.append(reports[-1][what]["median"])
            report = stock()
            theirs.append(report[what]["all"][-1])
        return reports, mine, theirs, report["system"]


def compared(mine, theirs, goal):
    row = {"thimble": statistics.median(mine), "stock": statistics.median(theirs), "thimble_all": mine, "stock_all": theirs}
    row["ratio"] = row["thimble"] / row["stock"]
    row["ratio_goal"] = goal
    return row


def decode(bench, shape, threads, generate, goal):
    model = bench.model(shape)
    reports, mine, theirs, system = bench.pairs(
        lambda: bench.ours(model, threads, 0, generate, "-d", SHORT),
        lambda: bench.stock(model, threads, SHORT, generate), "decode_tokens_per_s")
    row = compared(mine, theirs, goal)
    row["share_all"] = [r["bandwidth_share"]["median"] for r in reports]
    row["bandwidth_all"] = [r["read_bandwidth_gb_per_s"]["median"] for r in reports]
    row["region_us"] = statistics.median(r["region_us"] for r in reports) if threads > 1 else None
    row["share"], row["share_worst"] = statistics.median(row["share_all"]), min(row["share_all"])
    row["share_goal"] = [0.9, 0.8] if threads > 1 else None
    row["kernels"], row["system"] = reports[0]["kernels"], system
    return row


def prefill(bench, isa, needs, libraries, goal):
    missing = [flag for flag in needs if flag not in bench.flags]
    if missing:
        raise Skip(f"this processor has no {', '.join(missing)}")
    model = bench.model(SMALL)
    reports, mine, theirs, system = bench.pairs(
        lambda: bench.ours(model, 2, PROMPT, 0, "--isa", isa),
        # The second of two prompts: the first pays for memory that it touches first.
        lambda: bench.stock(model, 2, PROMPT, 1, libraries, "--reps", 2), "prefill_tokens_per_s")
    row = compared(mine, theirs, goal)
    row["kernels"], row["system"] = reports[0]["kernels"], system
    return row


def context(bench, kv):
    """Decode after LONG tokens beside the empty context, by Thimble, and stock llama.cpp after LONG tokens; int8 also
    beside Thimble with f16."""
    model, mine, empty, theirs, f16 = bench.model(SMALL), [], [], [], []
    more = ["--kv", "q8_0"] if kv == "int8" else []

    def ours(depth, kind):
        return bench.ours(model, 2, 0, 32, "-d", depth, "--kv", kind)["decode_tokens_per_s"]["median"]

    for _ in range(bench.reps):
        empty.append(ours(0, kv))
        mine.append(ours(LONG, kv))
        if kv == "int8":
            f16.append(ours(LONG, "f16"))
        report = bench.stock(model, 2, LONG, 32, (), *more)
        theirs.append(report["decode_tokens_per_s"]["median"])
    row = compared(mine, theirs, None)
    row["kept_all"] = [a / b for a, b in zip(mine, empty)]
    row["kept"], row["kept_goal"] = statistics.median(row["kept_all"]), 0.8
    if f16:
        row["beside_f16"] = statistics.median([a / b for a, b in zip(mine, f16)])
    row["system"] = report["system"]
    return row


def start(bench, shape):
    """Second start: wall time of a process that answers one token, and its peak memory."""
    model, mine, theirs, memory, stock_memory = bench.model(shape), [], [], [], []
    ours = [bench.program, "-q", "-t", 2, "chat", model, "--raw", "-p", "a", "-n", 1, "--temp", 0, "-c", 512]
    stock = ["node", PEER, "generate", model, "--from", bench.peer, "--threads", 2, "--tokens", "1,300", "--generate", 1]
    run(ours)
    for _ in range(bench.reps):
        for command, seconds, peaks in ((ours, mine, memory), (stock, theirs, stock_memory)):
            _, spent, peak = run(command)
            seconds.append(spent)
            peaks.append(peak)
    report = bench.ours(model, 2, 0, 4, "-d", 0)
    row = {"thimble": statistics.median(mine), "stock": statistics.median(theirs), "thimble_all": mine, "stock_all": theirs,
           "ratio": statistics.median(theirs) / statistics.median(mine), "ratio_goal": None,
           "load_seconds": report["load_seconds"], "rss": statistics.median(memory),
           "stock_rss": statistics.median(stock_memory), "weights": report["weight_bytes"], "seconds_goal": 0.3}
    # A prompt of two tokens is computed as one chunk: no longer than two tokens of decoding.
    row["prompt_seconds"] = 2.0 / report["decode_tokens_per_s"]["median"]
    # f16 keys and values of 512 tokens.
    row["kv_bytes"] = report["kv_bytes"] * 512 // 4
    row["rss_limit"] = 1.05 * row["weights"] + row["kv_bytes"] + 64e6
    return row


ROWS = {
    "decode-1.1b-2": ("decode, 1.1B, 2 threads", lambda b: decode(b, SMALL, 2, 64, 1.4)),
    "decode-1.1b-1": ("decode, 1.1B, 1 thread", lambda b: decode(b, SMALL, 1, 32, 1.5)),
    "decode-7b-2": ("decode, Mistral-7B, 2 threads", lambda b: decode(b, LARGE, 2, 16, 1.4)),
    "decode-7b-1": ("decode, Mistral-7B, 1 thread", lambda b: decode(b, LARGE, 1, 8, 1.5)),
    "prefill-avx512": ("prefill 512, 1.1B, 2 threads, AVX-512 without AMX",
                       lambda b: prefill(b, "avx512_vnni", ["avx512_vnni"], NO_AMX, 2.5)),
    "prefill-amx": ("prefill 512, 1.1B, 2 threads, AMX",
                    lambda b: prefill(b, "avx512_amx", ["avx512_vnni", "amx_int8"], [], 3.0)),
    "prefill-avx2": ("prefill 512, 1.1B, 2 threads, AVX2", lambda b: prefill(b, "avx2", ["avx2"], NO_AVX512, 1.5)),
    "context-f16": ("decode after 4096 tokens, f16 KV, 1.1B, 2 threads", lambda b: context(b, "f16")),
    "context-int8": ("decode after 4096 tokens, int8 KV (stock: q8_0), 1.1B, 2 threads", lambda b: context(b, "int8")),
    "start-1.1b": ("second start to first token, 1.1B, seconds", lambda b: start(b, SMALL)),
    "start-7b": ("second start to first token, Mistral-7B, seconds", lambda b: start(b, LARGE)),
}


def checks(row):
    """What the row must reach: (text, met)."""
    if row.get("ratio_goal"):
        yield f"{row['ratio']:.2f}x stock, goal {row['ratio_goal']}x", row["ratio"] >= row["ratio_goal"]
    if row.get("share_goal"):
        median, worst = row["share_goal"]
        regions = f", {row['region_us']:.1f} us a region" if row.get("region_us") else ""
        yield (f"{100 * row['share']:.0f} % of {statistics.median(row['bandwidth_all']):.1f} GB/s (worst "
               f"{100 * row['share_worst']:.0f} %{regions}), goal {100 * median:.0f} (80)",
               row["share"] >= median and row["share_worst"] >= worst)
    elif "share" in row:
        yield (f"{100 * row['share']:.0f} % of {statistics.median(row['bandwidth_all']):.1f} GB/s", True)
    if "kept" in row:
        yield f"{100 * row['kept']:.0f} % of empty context, goal {100 * row['kept_goal']:.0f}", row["kept"] >= row["kept_goal"]
    if "beside_f16" in row:
        yield f"{row['beside_f16']:.2f}x f16, goal 1x", row["beside_f16"] >= 1.0
    if "seconds_goal" in row:
        rest = row["thimble"] - row["prompt_seconds"]
        yield f"{rest:.2f} s beside the prompt, goal {row['seconds_goal']}", rest <= row["seconds_goal"]
        yield (f"{row['rss'] / 1e6:.0f} MB peak (stock {row['stock_rss'] / 1e6:.0f}), limit {row['rss_limit'] / 1e6:.0f}",
               row["rss"] <= row["rss_limit"])


def print_table(store):
    print("| line | Thimble | stock | ratio (each pair) | goals |\n|---|---|---|---|---|")
    for key, (title, _) in ROWS.items():
        row = store.get(key)
        if row is None:
            continue
        if "skipped" in row:
            print(f"| {title} | | | | skipped: {row['skipped']} |")
            continue
        digits = 2 if "seconds_goal" in row else 1
        mine, theirs = row["thimble_all"], row["stock_all"]
        pairs = [b / a if "seconds_goal" in row else a / b for a, b in zip(mine, theirs)]
        goals = "; ".join(text + (": met" if met else ": NOT MET") if "goal" in text or "limit" in text else text
                          for text, met in checks(row))
        print(f"| {title} | {row['thimble']:.{digits}f} | {row['stock']:.{digits}f} | {row['ratio']:.2f} "
              f"({min(pairs):.2f} to {max(pairs):.2f}) | {goals} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows, separated by commas")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--program", type=pathlib.Path, default=SOURCE / "build/release/apps/thimble/thimble")
    parser.add_argument("--store", type=pathlib.Path, default=SOURCE / "build/performance.json")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--print", action="store_true")
    options = parser.parse_args()
    if options.list:
        for key, (title, _) in ROWS.items():
            print(f"{key:16} {title}")
        return
    wanted = [key for key in options.only.split(",") if key] or list(ROWS)
    unknown = [key for key in wanted if key not in ROWS]
    if unknown:
        sys.exit(f"--only: found {', '.join(unknown)}, expected some of {', '.join(ROWS)}")
    store = json.loads(options.store.read_text()) if options.store.exists() else {}
    if not options.print:
        with tempfile.TemporaryDirectory() as folder:
            try:
                bench = Bench(options, folder)
            except Skip as reason:
                print(reason)
                sys.exit(77)
            for key in wanted:
                try:
                    store[key] = ROWS[key][1](bench)
                except Skip as reason:
                    store[key] = {"skipped": str(reason)}
                store[key].update(key=key, reps=options.reps, when=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))
                options.store.parent.mkdir(parents=True, exist_ok=True)
                options.store.write_text(json.dumps(store, indent=1) + "\n")
    print_table(store)


if __name__ == "__main__":
    main()
