"""Packs the matrices of a float Hugging Face folder (one safetensors file, F16) as GPTQ or AWQ int4 by plain rounding, in the
layouts that AutoGPTQ 0.7 and AutoAWQ 0.2 write. Standard library only; a model of a few million weights takes seconds.
"""
import array
import json
import pathlib
import shutil
import struct

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # awq/modules/linear/gemm.py


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + size:]
    return {name: (t["dtype"], t["shape"], bytes(body[slice(*t["data_offsets"])])) for name, t in header.items()}


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            out.write(data)


def half(x):
    """The f16 nearest to x, as float and as bits."""
    data = struct.pack("<e", x)
    return struct.unpack("<e", data)[0], struct.unpack("<H", data)[0]


def round_group(x, symmetric):
    """Codes, zero point and scale of one group."""
    low, high = min(min(x), 0.0), max(max(x), 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high
    scale, bits = half(max((high - low) / 15, 1e-4))
    zero = 8 if symmetric else min(15, max(1, round(-low / scale)))
    return [min(15, max(0, round(v / scale) + zero)) for v in x], zero, bits


def words(nibbles):
    """A signed array of 32-bit words out of lists of 8 nibbles, lowest first."""
    out = array.array("I", (sum(n << (4 * i) for i, n in enumerate(eight)) for eight in nibbles))
    return out.tobytes()


def pack_matrix(module, shape, data, kind, group, symmetric):
    n_out, n_in = shape
    values = struct.unpack(f"<{n_out * n_in}e", data)
    codes, zeros, scales = [], [], []  # [n_out][n_in], [n_out][groups]
    for o in range(n_out):
        row = values[o * n_in:(o + 1) * n_in]
        parts = [round_group(row[i:i + group], symmetric) for i in range(0, n_in, group)]
        codes.append([c for part in parts for c in part[0]])
        zeros.append([part[1] for part in parts])
        scales.append([part[2] for part in parts])
    n_groups = len(zeros[0])
    scale_bytes = array.array("H", (scales[o][g] for g in range(n_groups) for o in range(n_out))).tobytes()
    if kind == "awq":
        order, less = AWQ_ORDER, 0
        qweight = words([codes[o + k][i] for k in order] for i in range(n_in) for o in range(0, n_out, 8))
        code_shape = [n_in, n_out // 8]
    else:
        order, less = range(8), 1
        qweight = words(codes[o][i:i + 8] for i in range(0, n_in, 8) for o in range(n_out))
        code_shape = [n_in // 8, n_out]
    qzeros = words([zeros[o + k][g] - less for k in order] for g in range(n_groups) for o in range(0, n_out, 8))
    tensors = {f"{module}.qweight": ("I32", code_shape, qweight),
               f"{module}.qzeros": ("I32", [n_groups, n_out // 8], qzeros),
               f"{module}.scales": ("F16", [n_groups, n_out], scale_bytes)}
    if kind == "gptq":
        index = array.array("i", (i // group for i in range(n_in)))
        tensors[f"{module}.g_idx"] = ("I32", [n_in], index.tobytes())
    return tensors


def pack_folder(source, target, kind, group, symmetric):
    """Writes a copy of the folder `source` to `target` with the projections of every layer packed."""
    target.mkdir()
    for path in source.iterdir():
        if path.suffix != ".safetensors" and path.is_file():
            shutil.copy(path, target)
    config = json.loads((target / "config.json").read_text())
    config["quantization_config"] = {"quant_method": kind, "bits": 4, "group_size": group}
    if kind == "gptq":
        config["quantization_config"].update(desc_act=False, sym=symmetric, checkpoint_format="gptq")
    else:
        config["quantization_config"].update(zero_point=True, version="gemm")
    (target / "config.json").write_text(json.dumps(config))
    tensors = {}
    for name, (dtype, shape, data) in read_safetensors(source / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            assert dtype == "F16", f"{name} is {dtype}"
            tensors.update(pack_matrix(name.removesuffix(".weight"), shape, data, kind, group, symmetric))
        else:
            tensors[name] = (dtype, shape, data)
    write_safetensors(target / "model.safetensors", tensors)
