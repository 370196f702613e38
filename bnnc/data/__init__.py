"""The demo: a small trained binary detector and a picture for it.

Both are made by this project alone, from seeds:
``python examples/train_shapes.py -o shapes.onnx --picture shapes.png``.
"""
