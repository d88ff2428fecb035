#!/usr/bin/env python3
"""Generates src/text/composition_table.cpp: the pairs of code points that Unicode's NFC composes to one.

Hangul syllables are computed, not listed. The pairs are those of Unicode 7.0 to 15.1 alike (any Python from 3.5 on).
Usage: scripts/make_composition_table.py > src/text/composition_table.cpp
"""
import sys
import unicodedata

from cpp_table import print_table


def pairs():
    for cp in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(cp)).split()
        if len(parts) != 2 or parts[0].startswith("<"):
            continue
        first, second = (int(p, 16) for p in parts)
        # NFC leaves out the composition exclusions.
        if unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(cp):
            yield first, second, cp


print_table("make_composition_table.py from Unicode", ["{first, second, composed}, sorted by the first two."], "text/composition.h",
            "CompositionPair kCompositionPairs", "kCompositionPairCount",
            (f"{{0x{a:x}, 0x{b:x}, 0x{c:x}}}" for a, b, c in sorted(pairs())))
