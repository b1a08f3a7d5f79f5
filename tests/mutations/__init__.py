"""Damaged models: what is refused must be refused with a typed error that says where.

A *sample* is a small sound model; a *mutant* is a sample that a seed has damaged; a *door* is a
public way in: ``etcoreml inspect``, ``run`` and ``extract``, :class:`executorch_coreml.Model`, the
ExecuTorch delegate. Each mutant goes through some doors in a process of its own kind
(:mod:`mutations.work`), so that a crash, an endless loop and a giant allocation are findings too.
"""
