"""Find things on pictures: ``python examples/detect.py det.so photo.jpg ...``"""

import sys

import bnnc

detector = bnnc.Detector(sys.argv[1], score=0.3)
for path in sys.argv[2:]:
    boxes = detector(path)
    for name, score, corners in zip(boxes.names, boxes.scores, boxes.corners):
        print(f"{path}: {name} {score:.2f} at {corners.round().astype(int).tolist()}")
