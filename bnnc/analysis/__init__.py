"""Statistics, verification, benchmarks and reports: what can be said about a model.

``statistics``   multiply-adds, r_b, equivalent FLOP, parameters and bytes, a layer at a time
``report``       the same as a table and as a picture
``verify``       is compiled code right? Checked layer by layer against the interpreter
``provenance``   what each tensor of a run is computed from, for ``verify``
``samples``      realistic inputs to check and measure with
``bench``        how fast is it, measured alternately with onnxruntime
``profile``      where the time goes
``machine``      where it was measured
"""
