"""Linear layers by oneDNN on CPUs where torch's own matrix product leaves half the processor idle.

torch multiplies float32 matrices by MKL, whose AVX-512 kernels run on Intel's processors alone; oneDNN looks at what
the processor can do and not at who made it. On an AMD EPYC with AVX-512 one core reaches 100 GFLOP/s by the one and 160
to 230 by the other. Weights, formulas and precision stay; results differ by rounding.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


@cache
def worthwhile() -> bool:
    """Whether oneDNN is the faster one here; a fact of the machine, so that runs repeat to the bit."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    facts = Path("/proc/cpuinfo")
    return facts.is_file() and "AuthenticAMD" in facts.read_text(encoding="utf-8", errors="replace")


def use_onednn(model: nn.Module) -> int:
    """Let the linear layers of ``model`` compute by oneDNN from now on; returns how many there are."""
    swapped = 0
    for module in model.modules():
        if type(module) in _FAST:
            module.__class__ = _FAST[type(module)]
            swapped += 1
    return swapped


def use_torch(model: nn.Module) -> None:
    """Undo `use_onednn`."""
    plain = {fast: slow for slow, fast in _FAST.items()}
    for module in model.modules():
        if type(module) in plain:
            module.__class__ = plain[type(module)]


class OneDNNLinear(nn.Linear):  # type: ignore[misc]
    """``x @ weight.T + bias``."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in) -> (..., out)."""
        return _product(x, self.weight, self.bias) if _served(x, self.weight) else super().forward(x)


class OneDNNConv1D(Conv1D):  # type: ignore[misc]
    """GPT-2's linear layer: ``x @ weight + bias``."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in) -> (..., out)."""
        return _product(x, self.weight.t(), self.bias) if _served(x, self.weight) else super().forward(x)


_FAST: dict[type, type] = {nn.Linear: OneDNNLinear, Conv1D: OneDNNConv1D}


def _served(x: Tensor, weight: Tensor) -> bool:
    """float32 on a CPU, with something in it; the rest is torch's."""
    ready = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
    return ready and not torch.is_autocast_enabled("cpu")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    flat: Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    return flat.view(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):  # type: ignore[misc]
    """x: (n, in), weight: (out, in), bias: (out,) or None -> (n, out)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wanted_x, wanted_weight, wanted_bias = ctx.needs_input_grad
        grad = grad.contiguous()
        return (
            _onednn(grad, weight.t(), None) if wanted_x else None,
            _onednn(grad.t(), x.t(), None) if wanted_weight else None,
            grad.sum(0) if wanted_bias else None,
        )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product
