"""Random calls of every op of the table, against eager PyTorch.

A *row* (``rows/``) draws the arguments of some overloads; a *program* is one drawn call, or a few
that feed each other; ``run`` lowers many programs together and ``judge`` compares what they give.
``make fuzz`` runs for minutes, ``tests/test_fuzz.py`` a short fixed slice.
"""
