"""llama_model_quantize of stock llama.cpp v0.5.0 through ctypes: there is no llama-quantize among the prebuilt libraries.

Used by scripts/make_mix_goldens and bench/quantization. Only Python's standard library is needed.
"""
import ctypes
import glob
import os
import struct
import sys

# LLAMA_FTYPE of llama.h.
SCHEMES = {"f16": 1, "q8_0": 7, "q6_k": 18, "q5_k_m": 17, "q5_k_s": 16, "q4_1": 3, "q4_k_m": 15, "q4_k_s": 14,
           "iq4_nl": 25, "q4_0": 2, "iq4_xs": 30, "q3_k_m": 12, "q2_k": 10}


class Imatrix(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


class Params(ctypes.Structure):
    _fields_ = [("nthread", ctypes.c_int32), ("ftype", ctypes.c_int32), ("output_tensor_type", ctypes.c_int32),
                ("token_embedding_type", ctypes.c_int32), ("allow_requantize", ctypes.c_bool),
                ("quantize_output_tensor", ctypes.c_bool), ("only_copy", ctypes.c_bool), ("pure", ctypes.c_bool),
                ("keep_split", ctypes.c_bool), ("dry_run", ctypes.c_bool), ("imatrix", ctypes.POINTER(Imatrix)),
                ("kv_overrides", ctypes.c_void_p), ("tensor_type", ctypes.c_void_p), ("prune_layers", ctypes.c_void_p)]


def load(folder):
    """The library in `folder`, which holds libggml-base.so, libggml.v*.so and libllama.v0.5.0.so."""
    for pattern in ("libggml-base.so", "libggml.v*.so"):
        ctypes.CDLL(glob.glob(os.path.join(folder, pattern))[0], mode=ctypes.RTLD_GLOBAL)
    llama = ctypes.CDLL(glob.glob(os.path.join(folder, "libllama.v0.5.0.so"))[0])
    llama.llama_model_quantize_default_params.restype = Params
    llama.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Params)]
    llama.llama_model_quantize.restype = ctypes.c_uint32
    silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    llama.keep_alive = silent
    llama.llama_log_set(silent, None)
    return llama


def quantize(llama, source, target, scheme, importance=None, threads=1):
    """Writes `target`. importance: {tensor name: [mean square of each input column]}, as llama-quantize passes it on."""
    params = llama.llama_model_quantize_default_params()
    params.ftype = SCHEMES[scheme]
    params.nthread = threads
    if importance:
        rows = [(name.encode(), (ctypes.c_float * len(values))(*values)) for name, values in importance.items()]
        entries = (Imatrix * (len(rows) + 1))(*[Imatrix(name, values, len(values)) for name, values in rows],
                                              Imatrix(None, None, 0))
        params.imatrix = entries
    if llama.llama_model_quantize(os.fspath(source).encode(), os.fspath(target).encode(), ctypes.byref(params)) != 0:
        sys.exit(f"llama_model_quantize failed on {source} as {scheme}")


class _Reader:
    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def take(self, form):
        value = struct.unpack_from("<" + form, self.raw, self.at)[0]
        self.at += struct.calcsize("<" + form)
        return value

    def text(self):
        n = self.take("Q")
        self.at += n
        return self.raw[self.at - n:self.at].decode()

    def skip_value(self, kind):
        if kind == 8:
            self.text()
        elif kind == 9:
            element, count = self.take("I"), self.take("Q")
            for _ in range(count):
                self.skip_value(element)
        else:
            self.at += {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}[kind]


def read_tensors(raw):
    """{name: (type id, dimensions, offset in raw)} of the bytes of a GGUF with alignment 32."""
    r = _Reader(raw)
    r.at = 8
    n_tensors, n_keys = r.take("Q"), r.take("Q")
    for _ in range(n_keys):
        r.text()
        r.skip_value(r.take("I"))
    tensors = {}
    for _ in range(n_tensors):
        name = r.text()
        shape = [r.take("Q") for _ in range(r.take("I"))]
        kind = r.take("I")
        tensors[name] = (kind, shape, r.take("Q"))
    start = (r.at + 31) // 32 * 32
    return {name: (kind, shape, start + offset) for name, (kind, shape, offset) in tensors.items()}


def read_importance(path):
    """Mean squares by tensor name from an importance matrix in llama.cpp's GGUF form (NAME.in_sum2 and NAME.counts)."""
    with open(path, "rb") as file:
        raw = file.read()
    tensors, out = read_tensors(raw), {}
    for name, (_, shape, at) in tensors.items():
        if not name.endswith(".in_sum2"):
            continue
        weight = name[:-len(".in_sum2")]
        count = struct.unpack_from("<f", raw, tensors[weight + ".counts"][2])[0]
        out[weight] = [x / count for x in struct.unpack_from(f"<{shape[0]}f", raw, at)]
    return out
