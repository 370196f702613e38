"""From a picture to boxes: what stands before and behind a compiled detector.

``pictures``        picture files as arrays
``preprocessing``   a picture as the model's input, as its metadata say
``centernet``       a CenterNet's outputs as boxes
"""
