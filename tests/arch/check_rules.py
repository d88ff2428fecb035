#!/usr/bin/env python3
"""Checks the rules of the house that a compiler does not: include direction, budgets, banned calls.

The allowed arrows are read from the CMakeLists.txt of the rooms (thimble_room(NAME DEPENDS ...)), so that the picture is
stated once. Exit status 1 and one line per broken rule. `check_rules.py --self-test` proves that each rule can fail.
"""
import pathlib
import re
import sys
import tempfile

ROOM = re.compile(r"thimble_room\(\s*(\w+)(.*?)\)", re.S)
INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"', re.M)
# The library never prints, exits, aborts or reads the environment; std::regex overflows its stack (docs/adr/0003).
BANNED = [
    (re.compile(r"\bstd::c(out|err|log)\b|\b(f?printf|puts|fputs|perror)\s*\(|\bfmt::print\b"), "prints"),
    (re.compile(r"(?<![\w:.>])(std::)?(abort|exit|_Exit|quick_exit)\s*\("), "ends the process"),
    (re.compile(r"\b(std::)?(secure_)?getenv\s*\("), "reads the environment"),
    (re.compile(r"std::w?regex\b|#include\s*<regex>"), "uses std::regex"),
]
MAX_LINES = 500
# A definition of a type at namespace scope (clang-format leaves those unindented).
TYPE = re.compile(r"^(?:template\b.*>\s*)?(?:struct|class|union|enum(?: class)?)\s+(?:alignas\([^)]*\)\s*)?(\w+(?:::\w+)*)\b[^;(]*\{")
NAMESPACE = re.compile(r"^namespace ([\w:]*) ?\{")
END = re.compile(r"^\}\s*// namespace")


def strip_comments(text):
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', re.sub(r"/\*.*?\*/", "", text, flags=re.S))


def types_defined(text):
    """Qualified names of the types that a file defines where other files can see them."""
    names, spaces = set(), []
    for line in text.split("\n"):
        if opened := NAMESPACE.match(line):
            spaces.append(opened.group(1))
        elif END.match(line) and spaces:
            spaces.pop()
        elif (found := TYPE.match(line)) and "" not in spaces:
            names.add("::".join([*spaces, found.group(1)]))
    return names


def allowed_arrows(src):
    """Room -> set of rooms it may include, transitively."""
    direct = {}
    for path in sorted(src.glob("*/CMakeLists.txt")):
        match = ROOM.search(path.read_text())
        if not match:
            raise SystemExit(f"{path}: no thimble_room(...)")
        depends = re.search(r"DEPENDS\s+((?:\w+\s*)+?)(?:LIBS|$)", match.group(2).strip() + " ")
        direct[match.group(1)] = set(depends.group(1).split()) if depends else set()

    def reach(room, seen):
        for other in direct[room] - seen:
            seen.add(other)
            reach(other, seen)
        return seen

    return {room: reach(room, set()) | {room} for room in direct}


def check(root):
    src = root / "src"
    arrows = allowed_arrows(src)
    problems = []
    for room, allowed in arrows.items():
        if room in reach_from_others(arrows, room, allowed):
            problems.append(f"src/{room}: its dependencies form a cycle")
    types = {}
    for path in sorted(src.rglob("*")):
        if path.suffix not in (".h", ".cpp", ".c", ".hpp"):
            continue
        name = path.relative_to(root)
        room = path.relative_to(src).parts[0]
        text = path.read_text()
        for include in INCLUDE.findall(text):
            target = include.split("/")[0]
            if target in arrows and target not in arrows[room]:
                problems.append(f"{name}: includes {include}, but {room} may not look into {target}")
        is_test = path.stem.endswith("_test")
        # Two rooms with a type of one name link without a word, and the program then runs one's destructor on the other.
        for type_name in sorted(types_defined(text) if not is_test else ()):
            if type_name in types:
                problems.append(f"{name}: defines {type_name}, which {types[type_name]} defines too")
            types.setdefault(type_name, name)
        lines = text.count("\n")
        if lines > MAX_LINES and "over the line budget" not in text[:2000]:
            problems.append(f"{name}: {lines} lines, at most {MAX_LINES} (or say why in the file header)")
        if not is_test:
            code = strip_comments(text)
            for pattern, what in BANNED:
                if pattern.search(code):
                    problems.append(f"{name}: {what}")
    return problems


def reach_from_others(arrows, room, allowed):
    """Rooms of `allowed` (but `room` itself) from which `room` can be reached again: a cycle."""
    return {room for other in allowed - {room} if room in arrows[other]}


def self_test():
    cases = {
        "wrong arrow": ('#include "b/b.h"\n', "may not look into"),
        "printing": ('void f() { printf("x"); }\n', "prints"),
        "exit": ("void f() { std::exit(1); }\n", "ends the process"),
        "environment": ('void f() { getenv("X"); }\n', "reads the environment"),
        "regex": ("#include <regex>\n", "std::regex"),
        "one name, two types": ("namespace b {\n\nstruct Twice : Base {\n};\n\n}  // namespace b\n", "defines b::Twice"),
        "length": ("int x;\n" * 501, "lines, at most"),
    }
    for label, (text, expected) in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            src = pathlib.Path(folder) / "src"
            for room, depends in (("a", ""), ("b", "DEPENDS a")):
                (src / room).mkdir(parents=True)
                (src / room / "CMakeLists.txt").write_text(f"thimble_room({room} {depends})\n")
            (src / "b" / "b.h").write_text('#include "a/a.cpp"\nnamespace b {\nstruct Twice {\n};\n}  // namespace b\n')
            (src / "b" / "c.h").write_text("namespace b {\nnamespace {\nstruct Twice {\n};\n}  // namespace\nstruct Twice;\n}  // namespace b\n")
            (src / "a" / "a.cpp").write_text("// fine: printf( in a comment, \"exit(\" in a string\n")
            assert check(pathlib.Path(folder)) == [], f"{label}: clean tree has problems"
            (src / "a" / "bad.cpp").write_text(text)
            found = check(pathlib.Path(folder))
            assert len(found) == 1 and expected in found[0], f"{label}: {found}"
    print(f"{len(cases)} rules can fail")


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        raise SystemExit(0)
    broken = check(pathlib.Path(sys.argv[1]))
    print("\n".join(broken))
    raise SystemExit(1 if broken else 0)
