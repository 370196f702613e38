"""Find things on pictures with a compiled detector: python detect.py det.so photo.jpg ..."""

import sys

import bnnc

library, *pictures = sys.argv[1:]
detector = bnnc.Detector(library, score=0.5)
for picture in pictures:
    boxes = detector(picture)
    for name, score, (x0, y0, x1, y1) in zip(boxes.names, boxes.scores, boxes.corners):
        print(f"{picture}: {name} {score:.2f} [{x0:.0f}, {y0:.0f}, {x1:.0f}, {y1:.0f}]")
