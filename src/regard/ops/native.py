"""Compiled kernels: the pointwise work between matrix products in one pass, and products whose rows are alone.

`kernels.c` and `products.c` are compiled where Regard is installed, if there is a compiler (`regard.ops.build`), and
used where the processor can run them. Nothing needs them: every kernel has a plain form in torch's operations, which is
what float64, other devices, sizes that are no multiple of 8, and machines without them take. REGARD_KERNELS=0 switches
them off.
"""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache
from typing import Any

import torch
from torch import Tensor

from regard.ops.build import LIBRARY, digest

LANES = 8
"""Rows must be a multiple of this long."""

_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "pack": (_COUNT,) * 3 + (_POINTER,) * 2,
    "pack_transposed": (_COUNT,) * 3 + (_POINTER,) * 2,
    "product": (_COUNT,) * 4 + (_POINTER,) * 4,
    "product_each": (_COUNT,) * 4 + (_POINTER,) * 7,
    "product8": (_COUNT,) * 5 + (_POINTER,) * 8,
    "lstm_forward": (_COUNT,) * 2 + (_POINTER,) * 6,
    "lstm_backward": (_COUNT,) * 2 + (_POINTER,) * 7,
    "gru_forward": (_COUNT,) * 2 + (_POINTER,) * 4,
    "scan_forward": (_COUNT,) * 3 + (_POINTER,) * 4,
    "scan_backward": (_COUNT,) * 3 + (_POINTER,) * 7,
    "attention_forward": (_COUNT,) * 5 + (_POINTER,) * 7,
    "additive_backward": (_COUNT,) * 5 + (_POINTER,) * 13,
    "nll_backward": (_COUNT,) * 2 + (_POINTER,) * 2 + (ctypes.c_double, _POINTER),
    "log_softmax": (_COUNT,) * 2 + (_POINTER,),
    "log_sums": (_COUNT,) * 2 + (_POINTER,) * 2,
    "log_sums_backward": (_COUNT,) * 2 + (_POINTER,) * 4,
    "mixture_forward": (_COUNT,) * 3 + (_POINTER,) * 3,
    "mixture_backward": (_COUNT,) * 3 + (_POINTER,) * 6,
    "largest": (_COUNT,) * 3 + (_POINTER,) * 3,
}
"""The compiled functions and what they take: counts, then pointers."""


@cache
def kernels() -> ctypes.CDLL | None:
    """The compiled kernels; None where there are none for this processor, or none of this version."""
    if os.environ.get("REGARD_KERNELS") == "0" or not LIBRARY.is_file() or not _processor_fits():
        return None
    try:
        found = ctypes.CDLL(str(LIBRARY))
        found.source.restype = ctypes.c_char_p
        if found.source().decode() != digest():
            return None
        for name, takes in SIGNATURES.items():
            function = getattr(found, name)
            function.argtypes, function.restype = takes, None
    except (OSError, AttributeError):
        return None
    return found


def _processor_fits() -> bool:
    """What build.py compiles for: AVX2 and fused multiply-add on x86, what the compiler assumes elsewhere."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    return not x86 or torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def version() -> str | None:
    """Which kernels run, for the log: the digest of their source, or None."""
    return digest() if kernels() is not None else None


def usable(*tensors: Tensor, multiple: int = LANES) -> bool:
    """Whether kernels can take these: float32 on the CPU, rows of a multiple of 8, real numbers in memory (so not
    while a graph is traced)."""
    if kernels() is None or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    for x in tensors:  # no generator: this is asked many times a step
        if x.dtype != torch.float32 or x.device.type != "cpu" or x.shape[-1] % multiple:
            return False
        if type(x) is not Tensor and type(x) is not torch.nn.Parameter:  # a subclass may have no memory of its own
            return False
    return True


def counts(lengths: Tensor | None, rows: int, most: int) -> Tensor | None:
    """Lengths as kernels read them; they must be as many as there are rows, and none above `most`."""
    if lengths is None:
        return None
    assert lengths.shape == (rows,) and int(lengths.max()) <= most, f"lengths {lengths.tolist()} for {rows} × {most}"
    return lengths.to("cpu", torch.int64).contiguous()


def call(name: str, *arguments: Tensor | int | float | None) -> None:
    """Call a kernel; tensors must be dense and are passed by address, None as the null pointer."""
    compiled = kernels()
    assert compiled is not None, "ask `usable` first"
    getattr(compiled, name)(*[_address(x) if isinstance(x, Tensor) else x for x in arguments])


def _address(x: Tensor) -> int:
    assert x.is_contiguous(), "kernels take dense tensors"
    return x.data_ptr()
