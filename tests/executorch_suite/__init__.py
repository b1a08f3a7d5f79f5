"""ExecuTorch's own backend test suite, run with this backend (``make suite``)."""
