#!/usr/bin/env python3
"""Regenerates tests/golden/quant_error/llama_cpp_v0.5.0.json: the error of llama.cpp's own quantizers.

    scripts/make_quant_reference.py PATH/TO/libggml-base.so > tests/golden/quant_error/llama_cpp_v0.5.0.json

Rows come from a generator that uses only integers and correctly rounded operations (+ - * / sqrt), so that
src/tensor/encode_error_test.cpp, which implements it a second time, gets the same bits on every machine; a checksum of
the float bytes is stored and compared there. Each type is encoded by ggml_quantize_chunk, which is what llama-quantize
calls, with and without importance, and decoded by ggml's dequantize_row_*. Standard library only.
"""

import ctypes
import json
import math
import struct
import sys

ROWS, COLUMNS = 64, 1024
MASK = (1 << 64) - 1
# Name of the type in Thimble's table, ggml_type id, suffix of dequantize_row_*.
TYPES = [
    ("q4_0", 2, "q4_0"), ("q4_1", 3, "q4_1"), ("q5_0", 6, "q5_0"), ("q5_1", 7, "q5_1"), ("q8_0", 8, "q8_0"),
    ("q2_k", 10, "q2_K"), ("q3_k", 11, "q3_K"), ("q4_k", 12, "q4_K"), ("q5_k", 13, "q5_K"), ("q6_k", 14, "q6_K"),
    ("iq4_nl", 20, "iq4_nl"), ("iq4_xs", 23, "iq4_xs"),
]


class Random:
    """splitmix64, and a Gaussian as the sum of 48 uniform 16-bit integers (kurtosis 2.975), 12 draws each."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def gaussian(self):
        total = 0
        for _ in range(12):
            bits = self.next()
            total += (bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) + ((bits >> 32) & 0xFFFF) + (bits >> 48)
        return (total - 1572840) / 131072.0  # mean 48 * 65535 / 2, deviation 2 * 65536

    def student_t3(self):
        numerator = self.gaussian()
        a, b, c = self.gaussian(), self.gaussian(), self.gaussian()
        return numerator / math.sqrt((a * a + b * b + c * c) / 3.0)

    def sparse(self):
        """90 % zeros."""
        return 0.0 if (self.next() >> 32) < 3865470566 else self.gaussian()


# 0.05 is a usual deviation of transformer weights; it puts the half precision scales of some types below 2^-14.
DISTRIBUTIONS = [
    ("gaussian", 1, lambda random: 0.05 * random.gaussian()),
    ("student_t3", 2, lambda random: 0.05 * random.student_t3()),
    ("sparse", 3, lambda random: 0.05 * random.sparse()),
]


def importance_value(random):
    """Mean squared activation of a channel: chi-squared with one degree of freedom, bounded away from zero."""
    z = random.gaussian()
    return 0.05 + z * z


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def floats(values):
    return (ctypes.c_float * len(values))(*values)


def rmse(x, y, importance):
    error = weight = 0.0
    for i, (a, b) in enumerate(zip(x, y)):
        w = importance[i % COLUMNS] if importance is not None else 1.0
        error += w * (a - b) * (a - b)
        weight += w
    return math.sqrt(error / weight)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    ggml = ctypes.CDLL(sys.argv[1])
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                         ctypes.c_int64, ctypes.c_void_p]
    random = Random(4)
    importance = floats([importance_value(random) for _ in range(COLUMNS)])
    figures = []
    checksums = {"importance": f"{fnv1a(bytes(importance)):016x}"}
    for distribution, seed, draw in DISTRIBUTIONS:
        random = Random(seed)
        x = floats([draw(random) for _ in range(ROWS * COLUMNS)])
        checksums[distribution] = f"{fnv1a(bytes(x)):016x}"
        blocks = ctypes.create_string_buffer(ROWS * COLUMNS * 4)
        decoded = (ctypes.c_float * (ROWS * COLUMNS))()
        for name, type_id, suffix in TYPES:
            dequantize = getattr(ggml, "dequantize_row_" + suffix)
            dequantize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
            for weights in (None, importance):
                ggml.ggml_quantize_chunk(type_id, x, blocks, 0, ROWS, COLUMNS, weights)
                dequantize(blocks, decoded, ROWS * COLUMNS)
                figures.append({"type": name, "distribution": distribution, "importance": weights is not None,
                                "rmse": rmse(x, decoded, weights)})
    print(json.dumps({"rows": ROWS, "columns": COLUMNS, "fnv1a64": checksums}, indent=1)[:-2] + ",\n \"figures\": [")
    print(",\n".join("  " + json.dumps(figure) for figure in figures))
    print(" ]\n}")


if __name__ == "__main__":
    main()
