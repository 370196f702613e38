"""From a picture to boxes, and how good they are.

``pictures``        picture files as arrays
``preprocessing``   a picture as the model's input, as its metadata say
``network``         what runs the model
``centernet``       a CenterNet's outputs as boxes
``detector``        the way through these four
``drawing``         boxes on a picture
``video``           pictures from a file or a camera
``voc``             Pascal VOC folders
``evaluation``      average precision
``agreement``       how far two detectors find the same
"""
