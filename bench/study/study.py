#!/usr/bin/env python3
"""The study of docs/STUDY.md: does the order of quantizations by perplexity or by KL divergence say their order on the product's tasks?

Usage: bench/study/study.py [--models nano,smollm2,qwen2.5-coder-1.5b] [--kinds product,generic] [--build build/release] [--threads 2]
       [--out build/study] [--fresh] [--print]
Each model is squeezed on its three tasks with the candidates of bench/study/candidates.toml, rounded with statistics of 256 of the
product's own calibration items, and with those of bench/study/generic.toml, rounded with as many samples of generic text (nano.toml
and nano-generic.toml for models/nano; qwen.toml and qwen-generic.toml for the largest, with 64 samples and every fourth item of each task).
A killed run goes on where it was, for the two larger models on another machine too: every answer and measurement is in
bench/study/measured, from where a run without a work folder starts; --fresh starts from nothing. --print shows what is there.
Models other than nano need scripts/get_model (pip); what cannot be had is skipped with its reason.
"""
import argparse
import dataclasses
import json
import lzma
import pathlib
import sys
import tomllib

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(SOURCE / "bench"))
from measured_models import Skip, every_nth_item, float_model, run  # noqa: E402

HERE = SOURCE / "bench/study"
MEASURED = HERE / "measured"
C4 = SOURCE / "bench/quantization/data/c4.txt"
WIKI = SOURCE / "bench/quantization/data/wiki.txt"


@dataclasses.dataclass
class Model:
    name: str
    tasks: pathlib.Path
    text: pathlib.Path          # held out
    generic: pathlib.Path       # text to calibrate on instead of the tasks' items
    samples: int = 256          # of the calibration
    every: int = 1              # of the items of a task, from the first
    text_bytes: int = 1 << 30   # of the text, from its beginning
    candidates: str = "candidates.toml"
    paired: str = "generic.toml"  # those of them that are rounded with generic text too
    group: int = 0              # candidates whose files are there at a time; 0: all
    kept: bool = True           # in bench/study/measured: what takes hours


MODELS = [
    Model("nano", SOURCE / "tasks/nano", SOURCE / "models/nano/text/heldout.txt", SOURCE / "models/nano/text/calib_generic.txt",
          candidates="nano.toml", paired="nano-generic.toml", kept=False),
    Model("smollm2", SOURCE / "tasks/product", WIKI, C4),
    Model("qwen2.5-coder-1.5b", SOURCE / "tasks/product", WIKI, C4, samples=64, every=4, text_bytes=30000,
          candidates="qwen.toml", paired="qwen-generic.toml", group=4),
]


class Study:
    def __init__(self, model, options):
        self.model = model
        self.thimble = [pathlib.Path(options.build) / "apps/thimble/thimble", "--threads", options.threads]
        self.build = pathlib.Path(options.build)
        self.folder = pathlib.Path(options.out) / model.name
        self.fresh = options.fresh

    def squeeze(self, kind):
        self.folder.mkdir(parents=True, exist_ok=True)
        text = self.folder / "text.txt"
        text.write_bytes(self.model.text.read_bytes()[:self.model.text_bytes])
        data, candidates = {"product": (self.model.tasks, self.model.candidates), "generic": (self.model.generic, self.model.paired)}[kind]
        tasks = every_nth_item(self.model.tasks, self.model.every, self.folder / "tasks")
        self.bring_journal(kind)
        for listed in self.groups(kind, HERE / candidates):
            try:
                # 10: nothing fits, 11: cannot tell; both are results.
                run(*self.thimble, "squeeze", float_model(self.model.name, self.build, self.thimble), "--device", "host", "--tasks", tasks,
                    "--text", text, "--calibrate", data, "--samples", self.model.samples, "--candidates", listed, "--report-only",
                    "-o", self.folder / kind, allowed=(0, 10, 11))
            finally:  # of an interrupted run too
                self.keep_journal(kind)
            if listed != HERE / candidates:  # measured: what is left of its files is in the journal
                for file in (self.folder / kind / "work").glob("*.gguf"):
                    file.unlink()

    def groups(self, kind, path):
        """The list of candidates in pieces, each a file, and then as a whole, which finds everything measured. Recipes first: schemes are
        rounded by the best method, which takes longest."""
        if self.model.group > 0:
            listed = tomllib.loads(path.read_text())
            for key in ("recipes", "schemes"):
                names = [str(path.parent / name) if key == "recipes" else name for name in listed.get(key, [])]
                for i in range(0, len(names), self.model.group):
                    piece = self.folder / f"{kind}-{key}-{i}.toml"
                    piece.write_text(f"{key} = {json.dumps(names[i:i + self.model.group])}\n")
                    yield piece
        yield path

    def journal(self, kind):
        """Where the program keeps what is measured, and where the repository does."""
        return self.folder / kind / "work/journal.jsonl", MEASURED / f"{self.model.name}-{kind}.jsonl.xz"

    def bring_journal(self, kind):
        work, kept = self.journal(kind)
        if work.exists() or self.fresh or not kept.exists():
            return
        work.parent.mkdir(parents=True, exist_ok=True)
        work.write_bytes(lzma.decompress(kept.read_bytes()))

    def keep_journal(self, kind):
        work, kept = self.journal(kind)
        if not self.model.kept or not work.exists():
            return
        lines = work.read_bytes()
        if kept.exists() and lzma.decompress(kept.read_bytes()) == lines:
            return
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(lzma.compress(lines, preset=9))

    def report(self, kind):
        path = self.folder / kind / "report.json"
        return json.loads(path.read_text()) if path.exists() else None

    def difference(self, candidate):
        """`thimble report diff` of a candidate rounded with generic text (before) and with product items (after)."""
        return json.loads(run(*self.thimble, "report", "diff", self.folder / "generic/report.json", self.folder / "product/report.json",
                              "--candidate-a", candidate, "--candidate-b", candidate, "--items", 0, "--json"))


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
    print(f"\n### {title}\n\n| candidate | bytes | body bits | perplexity | KL on text | KL on answers | score | against float | " + " | ".join(tasks) + " |")
    print("|---|---|---|---|---|---|---|---|" + "---|" * len(tasks))
    for c in [report["baseline"], *report["candidates"]]:
        if c["score"] is None:
            continue
        f, d = c["fidelity"], c["against_float"]
        scores = " | ".join(f"{t['against_float']['mean']:+.1f}" if t["against_float"] else "" for t in c["tasks"])
        answers = f"{c['on_answers']['mean_kl']:.5f}" if c["on_answers"] else ""
        kl = f"{f['kl_mean']:.5f}" if "kl_mean" in f else ""
        print(f"| {c['name']} | {c['file_bytes']:,} | {c['body_bits_per_weight']:.2f} | {f['perplexity']:.3f} | {kl} | {answers} | "
              f"{c['score']['mean']:.1f} | {d['mean']:+.2f} ({d['low']:+.2f} to {d['high']:+.2f}) | {scores} |")
    print(f"\nVerdict: {report['verdict']}. {report['explanation']}")
    headline(report)


def calibrations(study):
    """Product items against generic text, scheme by scheme."""
    generic, product = study.report("generic"), study.report("product")
    if generic is None or product is None:
        return
    kl = {kind: {c["name"]: (c["fidelity"]["kl_mean"], c["on_answers"]["mean_kl"]) for c in report["candidates"] if c["score"] is not None}
          for kind, report in (("generic", generic), ("product", product))}
    print(f"\n### {study.model.name}: product items against generic text\n")
    print("| candidate | KL on the text: generic | product | KL on answers: generic | product | points, product minus generic |\n|---|---|---|---|---|---|")
    for name in kl["generic"]:
        if name not in kl["product"]:
            continue
        parts = [f"{t['task']} {t['difference']['mean']:+.2f} ({t['difference']['low']:+.2f} to {t['difference']['high']:+.2f})"
                 for t in study.difference(name)["tasks"]]
        (g, ga), (p, pa) = kl["generic"][name], kl["product"][name]
        print(f"| {name} | {g:.5f} | {p:.5f} | {ga:.5f} | {pa:.5f} | {', '.join(parts)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(m.name for m in MODELS))
    parser.add_argument("--kinds", default="product,generic")
    parser.add_argument("--build", default=str(SOURCE / "build/release"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=str(SOURCE / "build/study"))
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--print", action="store_true", dest="print_only")
    options = parser.parse_args()
    known = {m.name: m for m in MODELS}
    skipped = []
    for name in options.models.split(","):
        if name not in known:
            sys.exit(f"unknown model {name}; known: {', '.join(known)}")
        study = Study(known[name], options)
        for kind in options.kinds.split(","):
            try:
                if not options.print_only:
                    study.squeeze(kind)
            except Skip as reason:
                skipped.append(f"{name}, {kind}: {reason}")
                continue
            if report := study.report(kind):
                table(f"{name}, {kind} calibration", report)
        calibrations(study)
    for line in skipped:
        print("skipped:", line)


if __name__ == "__main__":
    main()
