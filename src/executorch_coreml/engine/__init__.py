"""Running ML Programs with OpenVINO: :class:`~executorch_coreml.engine.model.Model`.

:mod:`.compile` builds the graph from the rows of :mod:`.kernels`, :mod:`.precision` rounds to
fp16, :mod:`.model` feeds and runs it. Nothing here imports torch or coremltools.
"""
