"""The demo: a small trained binary detector and a picture for it.

Both are made by this project alone, from seeds:
``python -m bnnc.zoo.train_shapes -o shapes.onnx --picture shapes.png``.
"""
