"""The paper's networks as torch modules, and what it takes to train and export them.

``models``        the table of networks, in the paper's notation (needs no torch)
``notation``      that notation: ``qn([4x64,...])``, ``tp4([32,16,4])``, ``h(64)`` (needs no torch)
``layers``        binary layers for training
``centernet``     the builder: a specification becomes a module
``settle``        realistic BatchNorm statistics without training
``export``        a module becomes an ONNX file that says how to use it
``losses``, ``targets``, ``decode``, ``training``   what training a CenterNet takes
``shapes``, ``train_shapes``                        the bundled demo model and its pictures
"""
