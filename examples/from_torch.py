"""From an untrained torch module to a running library, cell by cell.

Run it whole, or open it in an editor that knows ``# %%`` cells. Needs ``pip install 'bnnc[zoo]'``.
"""

# %% A network of your own: a binary convolution is one whose weights and inputs are signs.
import torch
from torch import nn

import bnnc
from bnnc.zoo.layers import BinaryConv2d


class Block(nn.Module):
    """A residual block: what is added stays float, what is convolved are signs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = BinaryConv2d(channels, channels)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.norm(torch.relu(self.conv(x)))


torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 64, 3, stride=4, padding=1),
    Block(64),
    Block(64),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(64, 10),
).eval()
x = torch.randn(1, 3, 128, 128)

# %% What is binary, and what it costs.
statistics = bnnc.stats(network, example_inputs=(x,))
print(f"r_b {statistics.total.binarization_ratio:.3f}")
for layer in (layer for layer in statistics.layers if layer.macs):
    print(f"  {layer.name:<12} {layer.macs:>12,} {'binary' if layer.binary else layer.reason}")

# %% The library, for this machine; it depends on libc alone.
session = bnnc.compile(network, "network.so", example_inputs=(x,))
(ours,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})

# %% The same numbers, but for the rounding of floats.
with torch.no_grad():
    theirs = network(x)
print(f"largest difference from torch: {abs(torch.from_numpy(ours) - theirs).max():.1e}")
