"""Binary layers for training.

Weights and activations are binarised by :func:`sign` as they are used; what the optimiser sees are
latent float weights. Modules with these layers export through either of torch's ONNX exporters.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnc.errors import InputError


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, clip: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.clip = clip
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradients[0] * (x.abs() <= ctx.clip), None

    # torch's TorchScript exporter writes x >= 0 as Not(x < 0), which sends NaN to +1.
    @staticmethod
    def symbolic(g: Any, x: Any, clip: float) -> Any:
        dtype = x.type().dtype()
        zero, high, low = (
            g.op("Constant", value_t=torch.tensor(value, dtype=dtype)) for value in (0.0, 1.0, -1.0)
        )
        result = g.op("Where", g.op("GreaterOrEqual", x, zero), high, low)
        result.setType(x.type())
        return result


class _Pad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int, columns: int, value: float) -> Tensor:
        ctx.margins = rows, columns
        return F.pad(x, (columns, columns, rows, rows), value=value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        rows, columns = ctx.margins
        height, width = gradients[0].shape[2:]
        return gradients[0][:, :, rows : height - rows, columns : width - columns], None, None, None

    # The TorchScript exporter otherwise computes these four constants with a dozen nodes.
    @staticmethod
    def symbolic(g: Any, x: Any, rows: int, columns: int, value: float) -> Any:
        pads = torch.tensor([0, 0, rows, columns, 0, 0, rows, columns])
        fill = torch.tensor(value, dtype=x.type().dtype())
        result = g.op(
            "Pad",
            x,
            g.op("Constant", value_t=pads),
            g.op("Constant", value_t=fill),
            mode_s="constant",
        )
        batch, channels, height, width = x.type().sizes()
        result.setType(
            x.type().with_sizes([batch, channels, height + 2 * rows, width + 2 * columns])
        )
        return result


def sign(x: Tensor, clip: float = 1.0) -> Tensor:
    """+1 where ``x >= 0``, else -1, elementwise.

    Both zeros give +1; NaN compares false and gives -1. The gradient is the straight-through
    estimator's: it passes unchanged where ``|x| <= clip`` and is zero elsewhere.
    """
    result: Tensor = _Sign.apply(x, clip)
    return result


class Sign(nn.Module):
    """:func:`sign` as a module."""

    def __init__(self, clip: float = 1.0) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, x: Tensor) -> Tensor:
        return sign(x, self.clip)

    def extra_repr(self) -> str:
        return f"clip={self.clip}"


class BinaryConv2d(nn.Conv2d):
    """A convolution of the signs of its input with the signs of its weights, without bias.

    Args:
        in_channels, out_channels, kernel_size, stride, dilation, groups: as in ``nn.Conv2d``.
        padding: rows and columns added on each side; None keeps the size at stride 1.
        pad_value: what a padded tap holds: 1 (one-padding, a real binary value), -1, or 0.
        clip: the gradient's window, and the range latent weights are kept in by
            :meth:`clip_latent`: 1, or 1.25 as in later QuickNets.

    Shapes:
        input [N, IC, H, W]; weight [OC, IC/groups, KH, KW] (latent); output [N, OC, OH, OW], whole
        numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | None = None,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        pad_value: float = 1.0,
        clip: float = 1.0,
    ) -> None:
        if padding is None:
            kernel = _pair(kernel_size)
            if not (kernel[0] % 2 and kernel[1] % 2):
                raise InputError(
                    f"an even kernel, {kernel}, has no same padding", hint="give padding="
                )
            step = _pair(dilation)
            padding = (kernel[0] // 2 * step[0], kernel[1] // 2 * step[1])
        if pad_value not in (-1.0, 0.0, 1.0):
            raise InputError(f"pad_value is {pad_value}", hint="use -1, 0 or 1")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias=False,
        )
        self.pad_value = float(pad_value)
        self.clip = clip
        self.frozen = False

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.frozen else sign(self.weight, self.clip)
        x = sign(x, self.clip)
        rows, columns = _pair(self.padding)  # type: ignore[arg-type]
        if self.pad_value and (rows or columns):
            x = _Pad.apply(x, rows, columns, self.pad_value)
            rows = columns = 0
        return F.conv2d(x, weight, None, self.stride, (rows, columns), self.dilation, self.groups)

    @torch.no_grad()
    def clip_latent(self) -> None:
        """Bring latent weights back into [-clip, clip]; call after each optimiser step."""
        self.weight.clamp_(-self.clip, self.clip)

    @torch.no_grad()
    def freeze(self) -> None:
        """Replace the latent weights by their signs, for deployment. There is no way back."""
        self.weight.copy_(sign(self.weight))
        self.frozen = True

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, pad_value={self.pad_value:g}, clip={self.clip}"


class Blur(nn.Conv2d):
    """The fixed depthwise blur of the transitions: [1, 2, 1] x [1, 2, 1] / 16, stride 2, "same".

    Shapes: input [N, C, H, W]; output [N, C, ceil(H/2), ceil(W/2)].
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
        self.weight.requires_grad_(False)

    def reset_parameters(self) -> None:
        tap = torch.tensor([1.0, 2.0, 1.0])
        with torch.no_grad():
            self.weight.copy_(torch.outer(tap, tap) / 16)


def clip_latent_weights(model: nn.Module) -> None:
    """:meth:`BinaryConv2d.clip_latent` for every binary layer of ``model``."""
    for module in model.modules():
        if isinstance(module, BinaryConv2d):
            module.clip_latent()


def freeze_binary_weights(model: nn.Module) -> None:
    """:meth:`BinaryConv2d.freeze` for every binary layer of ``model``."""
    for module in model.modules():
        if isinstance(module, BinaryConv2d):
            module.freeze()


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
