#!/usr/bin/env python3
"""Generates src/text/unicode_tables.cpp: general category and White_Space of every code point, as runs.

Unicode 15.1, the version whose tables stock llama.cpp v0.5.0 carries, so that pre-tokenizers split alike.
Needs Python 3.13 (its unicodedata is 15.1) or the package unicodedata2 15.1.0.
Usage: scripts/make_unicode_tables.py > src/text/unicode_tables.cpp
"""
import sys

from cpp_table import print_table

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

VERSION = "15.1.0"
CLASSES = {"C": 0, "L": 1, "N": 2, "M": 3, "P": 4, "S": 5, "Z": 6}
# PropList.txt, White_Space.
WHITE_SPACE = set(range(0x9, 0xE)) | {0x20, 0x85, 0xA0, 0x1680} | set(range(0x2000, 0x200B)) | {
    0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def main():
    if unicodedata.unidata_version != VERSION:
        sys.exit(f"Unicode {VERSION} is needed, this Python has {unicodedata.unidata_version}")
    runs = []
    for cp in range(0x110000):
        value = CLASSES[unicodedata.category(chr(cp))[0]] | (8 if cp in WHITE_SPACE else 0)
        if not runs or runs[-1][1] != value:
            runs.append((cp, value))
    print_table(f"make_unicode_tables.py from Unicode {VERSION}",
                ["Each entry is first_code_point << 4 | white_space << 3 | class, with the classes of text/unicode.h; a run",
                 "ends where the next begins."],
                "text/unicode.h", "uint32_t kCharRuns", "kCharRunCount", (f"0x{cp << 4 | value:x}" for cp, value in runs))


main()
