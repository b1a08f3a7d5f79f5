"""coremltools' own tests, run with our engine in the place of Core ML (``make conformance``)."""
