"""Reading Core ML models: bundles, ML Programs and weight files, without Apple's tools.

:func:`executorch_coreml.mil.bundle.read` is the way in; :mod:`executorch_coreml.mil.types` is what
comes out.
"""
