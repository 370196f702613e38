"""ONNX models to graphs. The way in is :func:`load`; read ``load.py`` first."""

from bnnc.frontends.onnx.load import load

__all__ = ["load"]
