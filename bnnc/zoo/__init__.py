"""The paper's networks as torch modules, and what it takes to train and export them.

``models``        the table of networks, in the paper's notation (needs no torch)
``notation``      that notation: ``qn([4x64,...])``, ``tp4([32,16,4])``, ``h(64)`` (needs no torch)
``layers``        binary layers for training
``centernet``     the builder: a specification becomes a module
``settle``        realistic BatchNorm statistics without training
``export``        a module becomes an ONNX file that says how to use it
``losses``, ``targets``, ``dataset``   what a CenterNet is trained on
``recipes``, ``training``              how it is trained
``checkpoint``    a training run on disk
``shapes``        pictures for the demo
"""
