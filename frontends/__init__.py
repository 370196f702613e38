"""Frontends: a model as its owner has it, to the graph of :mod:`bnnc.ir`.

:func:`bnnc.frontends.onnx.load` reads ONNX, :func:`bnnc.frontends.torch.load` a torch module, by
way of ONNX. Neither onnx nor torch is imported before its module is.
"""
