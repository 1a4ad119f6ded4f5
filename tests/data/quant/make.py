"""Writes the fixtures of tests/tensor beside this file: random blocks of each quantised type followed
by their values as the reference implementation (Python package gguf) decodes them, and prints the
hashes of float conversions that float_convert_test.cc expects (numpy for f16, torch for bf16)."""

import pathlib

import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# Byte offsets of the f16 fields of a block.
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2],
          "Q5_K": [0, 2], "Q6_K": [208], "Q2_K": [80, 82], "Q3_K": [108], "IQ4_NL": [0], "IQ4_XS": [0],
          "MXFP4": []}
EXPONENTS = [0, 1, 2, 118, 127, 250]  # of MXFP4, whose first byte is one; the first two are subnormal


def write_blocks(name, halves, rng):
    length, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    count = 2 if length == 256 else 6
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for block in range(count):
        for at in halves:
            scale = np.float16(rng.normal() * (0.02 if block else 3e-6))  # the first is subnormal
            raw[block, at:at + 2] = np.frombuffer(scale.tobytes(), np.uint8)
        if name == "MXFP4":
            raw[block, 0] = EXPONENTS[block]
    values = dequantize(raw, GGMLQuantizationType[name]).astype("<f4")
    path = pathlib.Path(__file__).with_name(name.lower() + ".bin")
    path.write_bytes(raw.tobytes() + values.tobytes())


def fnv1a(data):
    h = 0xcbf29ce484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 % 2**64
    return hex(h)


def probe_floats():
    """Random bit patterns: half of them any, half within the range of f16."""
    bits, x = np.empty(100000, np.uint32), 1
    for i in range(len(bits)):
        x = (x * 1664525 + 1013904223) % 2**32
        bits[i] = x if i % 2 else 0x33000000 + x % (0x47900000 - 0x33000000)
    floats = bits.view(np.float32)
    return floats[~np.isnan(floats)]


def main():
    rng = np.random.default_rng(7)
    for name, halves in HALVES.items():
        write_blocks(name, halves, rng)
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    print("f16 to f32", fnv1a(halves[~np.isnan(halves)].astype("<f4").tobytes()))
    floats = probe_floats()
    with np.errstate(over="ignore"):
        print("f32 to f16", fnv1a(floats.astype("<f2").tobytes()))
    rounded = torch.from_numpy(floats).to(torch.bfloat16).view(torch.int16).numpy()
    print("f32 to bf16", fnv1a(rounded.astype("<i2").tobytes()))


if __name__ == "__main__":
    main()
