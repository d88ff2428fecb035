#!/usr/bin/env python3
"""Writes tests/golden/packed_int4/packed.json: small matrices packed by AutoGPTQ's and AutoAWQ's own code, and the weights that
their own code reads back. An oracle for src/convert that does not depend on our reading of the two formats.

Usage: make_packed_golden.py AUTOGPTQ_DIR AUTOAWQ_DIR OUT.json
The folders hold the unpacked packages auto-gptq 0.7.1 and autoawq 0.2.9 (MIT licences); needs torch and numpy. Nothing of them is
copied: their modules are imported and run.
"""
import importlib
import json
import sys
import types

import torch

N_IN, N_OUT = 128, 32


def stub(name, **members):
    """An empty module in place of one that the packages import and do not use here."""
    module = types.ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    module.__path__ = []
    sys.modules[name] = module
    return module


def quantized(seed, group, symmetric):
    """A linear layer that lies on a grid, with f16 scales [out, groups] and integer zeros of it."""
    generator = torch.Generator().manual_seed(seed)
    n_groups = N_IN // group
    codes = torch.randint(0, 16, (N_OUT, N_IN), generator=generator)
    zeros = torch.full((N_OUT, n_groups), 8) if symmetric else torch.randint(1, 16, (N_OUT, n_groups), generator=generator)
    scales = (torch.rand((N_OUT, n_groups), generator=generator) * 0.05 + 0.001).half()
    index = torch.arange(N_IN) // group
    linear = torch.nn.Linear(N_IN, N_OUT, bias=False)
    linear.weight.data = scales.float()[:, index] * (codes - zeros[:, index]).float()
    return linear, scales, zeros


def entry(kind, group, module, weights, scales):
    """`levels` [out][in]: the weights that their code read back, over `row_scales` [out][groups]; integers."""
    index = torch.arange(N_IN) // group
    levels = torch.round(weights / scales.float()[:, index])
    assert torch.equal(levels * scales.float()[:, index], weights)
    tensors = {}
    for name in ("qweight", "qzeros", "scales", "g_idx"):
        tensor = getattr(module, name, None)
        if tensor is not None:
            tensors[name] = {"shape": list(tensor.shape), "values": tensor.flatten().tolist()}
    return {"kind": kind, "group_size": group, "tensors": tensors, "levels": levels.int().flatten().tolist(),
            "row_scales": scales.float().flatten().tolist()}


def gptq_cases(folder):
    sys.path.insert(0, folder)
    stub("transformers").pytorch_utils = stub("transformers.pytorch_utils", Conv1D=type("Conv1D", (), {}))
    for name in ("auto_gptq", "auto_gptq.nn_modules", "auto_gptq.nn_modules.qlinear"):
        stub(name).__path__ = [folder + "/" + name.replace(".", "/")]
    module = importlib.import_module("auto_gptq.nn_modules.qlinear.qlinear_cuda")
    for seed, (group, symmetric) in enumerate([(32, True), (32, False), (64, False), (128, True)]):
        linear, scales, zeros = quantized(seed, group, symmetric)
        packed = module.QuantLinear(4, group, N_IN, N_OUT, bias=False, weight_dtype=torch.float16)
        packed.pack(linear, scales.float(), zeros.float())
        packed.scales = packed.scales.half()
        # Its forward pass on the identity matrix reads the weights back.
        packed.autogptq_cuda_available = False
        packed.scales = packed.scales.float()
        weights = packed(torch.eye(N_IN)).t()
        packed.scales = packed.scales.half()
        assert torch.equal(weights, linear.weight.data)
        yield entry("gptq", group, packed, weights, scales)


def awq_cases(folder):
    sys.path.insert(0, folder)
    for name in ("awq", "awq.modules", "awq.modules.linear", "awq.utils"):
        stub(name).__path__ = [folder + "/" + name.replace(".", "/")]
    stub("awq.utils.module", try_import=lambda name: (None, ""))
    stub("awq.utils.utils", get_best_device=lambda: "cpu")
    unpack = importlib.import_module("awq.utils.packing_utils").dequantize_gemm
    gemm = importlib.import_module("awq.modules.linear.gemm").WQLinear_GEMM
    gemv = importlib.import_module("awq.modules.linear.gemv").WQLinear_GEMV
    for seed, group in enumerate([32, 64, 128]):
        linear, scales, zeros = quantized(10 + seed, group, False)
        packed = gemm.from_linear(linear, 4, group, scales=scales.float().t().contiguous(), zeros=zeros.t().contiguous())
        weights = unpack(packed.qweight, packed.qzeros, packed.scales.float(), 4, group).t()
        assert torch.equal(weights, linear.weight.data)
        yield entry("gemm", group, packed, weights, scales)
        # There is no reader of this layout without a GPU; what was packed is what must come back.
        packed = gemv.from_linear(linear, 4, group, scales=scales, zeros=zeros)
        yield entry("gemv", group, packed, linear.weight.data, scales)


def main():
    gptq_folder, awq_folder, out = sys.argv[1:]
    cases = [*gptq_cases(gptq_folder), *awq_cases(awq_folder)]
    document = {"source": "auto-gptq 0.7.1 and autoawq 0.2.9, by scripts/make_packed_golden.py", "n_in": N_IN, "n_out": N_OUT,
                "cases": cases}
    with open(out, "w") as file:
        json.dump(document, file, separators=(",", ":"))
        file.write("\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
