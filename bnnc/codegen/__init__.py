"""From the lowered graph to C: layouts, kernels, weights, storage, text."""

from bnnc.codegen.decoder import find_decoder
from bnnc.codegen.generate import generate
from bnnc.codegen.model import Generated
from bnnc.codegen.render import source

__all__ = ["Generated", "find_decoder", "generate", "source"]
