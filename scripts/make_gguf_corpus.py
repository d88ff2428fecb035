#!/usr/bin/env python3
"""Writes the seed corpus of the GGUF fuzzer: small files, valid and broken in one place each.

usage: scripts/make_gguf_corpus.py [FOLDER]     (default tests/fuzz/corpus/gguf)
"""
import struct
import sys
from pathlib import Path

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
# id: (elements, bytes) of a block, as in docs/FORMAT.md
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
          11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 23: (256, 136), 24: (1, 1),
          25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2)}


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, content):
    if kind == STRING:
        return string(content)
    if kind == ARRAY:
        element, items = content
        return struct.pack("<IQ", element, len(items)) + b"".join(value(element, item) for item in items)
    return struct.pack("<" + FORMATS[kind], content)


def image(keys, tensors, version=3, alignment=32):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    for name, kind, content in keys:
        head += string(name) + struct.pack("<I", kind) + value(kind, content)
    offset, data = 0, b""
    for name, type_id, shape in tensors:
        elements, size = BLOCKS[type_id]
        n_bytes = shape[0] // elements * size
        for n in shape[1:]:
            n_bytes *= n
        head += string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", type_id, offset)
        padded = (n_bytes + alignment - 1) // alignment * alignment
        data += bytes(range(1, 1 + min(n_bytes, 200))).ljust(padded, b"\0")
        offset += padded
    return head + b"\0" * (-len(head) % alignment) + data


SCALARS = [("u8", U8, 1), ("i8", I8, -1), ("u16", U16, 2), ("i16", I16, -2), ("u32", U32, 3), ("i32", I32, -3),
           ("f32", F32, 0.5), ("bool", BOOL, 1), ("string", STRING, "text"), ("u64", U64, 4), ("i64", I64, -4),
           ("f64", F64, 0.25)]
ARRAYS = [("v." + name, ARRAY, (kind, [content, content])) for name, kind, content in SCALARS]
LLAMA = [("general.architecture", STRING, "llama"), ("llama.block_count", U32, 1), ("llama.context_length", U32, 8),
         ("llama.embedding_length", U32, 32), ("tokenizer.ggml.model", STRING, "llama"),
         ("tokenizer.ggml.tokens", ARRAY, (STRING, ["<unk>", "<s>", "</s>", b"\xff"]))]
LAYER = [("token_embd.weight", 1, [32, 4]), ("blk.0.attn_norm.weight", 0, [32]), ("blk.0.attn_q.weight", 8, [32, 32])]


def seeds():
    yield "scalars_v3", image(SCALARS, [])
    yield "scalars_v2", image(SCALARS, [], version=2)
    yield "arrays", image(ARRAYS + [("v.empty", ARRAY, (STRING, []))], [])
    yield "llama", image(LLAMA, LAYER)
    yield "every_type", image([], [(f"t{i}", i, [BLOCKS[i][0], 2]) for i in BLOCKS])
    yield "four_dims", image([], [("t", 0, [2, 3, 2, 2]), ("u", 24, [1])])
    yield "alignment_64", image([("general.alignment", U32, 64)], LAYER, alignment=64)
    yield "split", image([("split.no", U16, 0), ("split.count", U16, 2), ("split.tensors.count", I32, 6)], LAYER)
    yield "nested_array", image([("n", ARRAY, (ARRAY, [(U8, [1])]))], [])
    yield "duplicate_key", image([("k", U8, 1), ("k", U8, 1)], [])
    yield "duplicate_tensor", image([], [("t", 0, [1]), ("t", 0, [1])])
    yield "alignment_0", image([("general.alignment", U32, 0)], LAYER)
    yield "bool_2", image([("b", BOOL, 2)], [])
    yield "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    yield "version_1", image([], [], version=1)
    yield "unknown_type", image([], LAYER).replace(struct.pack("<I", 8) + struct.pack("<Q", 384), struct.pack("<IQ", 16, 384))
    yield "truncated", image(LLAMA, LAYER)[:-700]


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "tests/fuzz/corpus/gguf")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
