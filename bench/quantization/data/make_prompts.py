#!/usr/bin/env python3
"""Writes the code and arithmetic prompts of the claim study, from nothing but this file and a fixed seed.

arithmetic.txt          worked sums and word problems, text for perplexity and KL divergence
arithmetic.jsonl        questions with one number as the answer (arithmetic.task.json)
python_output.jsonl     short Python programs and what they print, as Python itself prints it (python_output.task.json)

`make_prompts.py --check` fails when the files differ from what it would write. code.txt is a snapshot, see SOURCE.md.
"""
import contextlib
import io
import json
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ["Anna", "Ben", "Clara", "David", "Emma", "Farid", "Grace", "Hugo", "Iris", "Jonas", "Kim", "Lena", "Mehmet"]
THINGS = ["apples", "marbles", "stamps", "pencils", "books", "coins", "cards", "shells", "buttons", "stickers"]
WORDS = ["river", "stone", "lamp", "cloud", "table", "garden", "mirror", "pepper", "train", "window"]


def sum_question(rng):
    """A bare calculation: question, worked answer, number."""
    kind = rng.randrange(4)
    if kind == 0:
        a, b = rng.randint(11, 89), rng.randint(11, 89)
        return f"What is {a} + {b}?", f"{a} + {b} = {a + b}.", a + b
    if kind == 1:
        a, b = rng.randint(41, 99), rng.randint(11, 40)
        return f"What is {a} - {b}?", f"{a} - {b} = {a - b}.", a - b
    if kind == 2:
        a, b = rng.randint(2, 12), rng.randint(2, 12)
        return f"What is {a} times {b}?", f"{a} * {b} = {a * b}.", a * b
    b, q = rng.randint(2, 12), rng.randint(2, 12)
    return f"What is {b * q} divided by {b}?", f"{b * q} / {b} = {q}.", q


def story_question(rng):
    """A word problem of two steps: question, worked answer, number."""
    who, other = rng.sample(NAMES, 2)
    thing = rng.choice(THINGS)
    kind = rng.randrange(3)
    if kind == 0:
        a, b, c = rng.randint(5, 40), rng.randint(3, 30), rng.randint(1, 5)
        return (f"{who} has {a} {thing}. {other} gives {who} {b} more, and then {who} loses {c}. How many {thing} does "
                f"{who} have now?",
                f"{who} starts with {a} {thing} and gets {b} more: {a} + {b} = {a + b}. Then {c} are lost: {a + b} - {c} = "
                f"{a + b - c}. The answer is {a + b - c}.", a + b - c)
    if kind == 1:
        a, b, c = rng.randint(2, 9), rng.randint(2, 12), rng.randint(1, 20)
        return (f"{who} buys {a} boxes with {b} {thing} each and already had {c} {thing}. How many {thing} are there in all?",
                f"{a} boxes of {b} make {a} * {b} = {a * b} {thing}. With the {c} from before: {a * b} + {c} = {a * b + c}. "
                f"The answer is {a * b + c}.", a * b + c)
    a, b = rng.randint(2, 9), rng.randint(2, 12)
    c = rng.randint(1, b)
    return (f"{who} and friends, {a} people in all, share {a * b} {thing} equally. {who} gives {c} of them to {other}. How many "
            f"{thing} does {who} keep?",
            f"Each person gets {a * b} / {a} = {b} {thing}. After giving {c} away, {who} keeps {b} - {c} = {b - c}. The answer is "
            f"{b - c}.", b - c)


def arithmetic_text(rng):
    parts = []
    for i in range(150):
        question, answer, _ = (story_question if i % 2 else sum_question)(rng)
        parts.append(f"Question: {question}\nAnswer: {answer}\n")
    return "\n".join(parts)


def arithmetic_items(rng, n):
    items = []
    for i in range(n):
        question, _, number = (story_question if i % 4 == 3 else sum_question)(rng)
        items.append({"id": f"arithmetic-{i:03}", "messages": [{"role": "user", "content": question}],
                      "refs": [str(number)], "facts": [[str(number)]]})
    return items


def program(rng):
    a, b, c = rng.randint(1, 9), rng.randint(1, 9), rng.randint(2, 6)
    word, other = rng.sample(WORDS, 2)
    values = [rng.randint(1, 20) for _ in range(rng.randint(3, 5))]
    return rng.choice([
        f"print(len('{word}'))",
        f"print('{word}'.upper())",
        f"print('{word}' + '{other}')",
        f"print('{word}'[:{c - 1}])",
        f"print({values}[{rng.randrange(len(values))}])",
        f"print(len({values}))",
        f"print(max({values}))",
        f"print(sum({values[:3]}))",
        f"x = {a}\ny = {b}\nprint(x + y)",
        f"x = {a}\nx = x * {c}\nprint(x)",
        f"print({a + b} > {b + c})",
        f"d = {{'{word}': {a}, '{other}': {b}}}\nprint(d['{other}'])",
        f"for i in range({c}):\n    pass\nprint(i)",
        f"def f(x):\n    return x + {a}\nprint(f({b}))",
    ])


def program_items(rng, n):
    items, seen = [], set()
    while len(items) < n:
        source = program(rng)
        if source in seen:
            continue
        seen.add(source)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(source, {})  # written a few lines above
        printed = out.getvalue().strip()
        items.append({"id": f"python-{len(items):03}", "messages": [{"role": "user", "content": f"```python\n{source}\n```"}],
                      "refs": [printed], "facts": [[printed]]})
    return items


def task(name, system, tokens, metrics):
    return json.dumps({"task": name, "version": 1, "data": f"{name}.jsonl", "license": "Apache-2.0",
                       "source": "bench/quantization/data/make_prompts.py", "system": system,
                       "gen": {"max_tokens": tokens}, "metrics": dict(zip(["primary", "also"], [metrics[0], metrics[1:]]))},
                      indent=1) + "\n"


def files():
    lines = lambda items: "".join(json.dumps(item) + "\n" for item in items)
    return {
        "arithmetic.txt": arithmetic_text(random.Random(1)),
        "arithmetic.jsonl": lines(arithmetic_items(random.Random(2), 200)),
        "arithmetic.task.json": task("arithmetic", "Answer with the number.", 24, ["fact_recall", "exact"]),
        "python_output.jsonl": lines(program_items(random.Random(3), 150)),
        # An answer that repeats the program would contain most outputs: only the output itself counts.
        "python_output.task.json": task("python_output", "What does this program print? Answer with its output only.", 24,
                                        ["exact", "fact_recall"]),
    }


def main():
    wrong = []
    for name, text in files().items():
        path = HERE / name
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            wrong.append(name)
    for name in wrong:
        print(f"{HERE / name}: differs from what make_prompts.py writes", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
