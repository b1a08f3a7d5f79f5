"""Every error this package raises on purpose.

::

    CoreMLError                       what, where (``location``), what to do (``hint``)
    ├── OptionsError                  a compile option that is unknown, malformed or contradictory
    ├── CompileError                  a PyTorch program could not be turned into a Core ML model
    │   ├── UnsupportedOp             an op, or an argument of it, that Core ML cannot express
    │   ├── LoweringError             a bug of ours: a rule emitted something wrong (cause chained)
    │   ├── TypeMismatch              a lowered value has another dtype or shape than PyTorch's
    │   └── PackageError              the finished program could not be serialised
    ├── PayloadError                  bytes that are not what they claim to be (``offset``)
    ├── ProgramError                  an ML Program that is malformed (function, op, value)
    └── RunError                      a model that loads, but cannot run as asked
        ├── MissingKernel             MIL ops the engine has no kernel for, all of them at once
        └── InputError                an input with a wrong name, dtype, shape or value

One message shape for all: ``what (node) at file:line in module: reason. Hint: remedy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

__all__ = [
    "CompileError",
    "CoreMLError",
    "InputError",
    "LoweringError",
    "MissingKernel",
    "OptionsError",
    "PackageError",
    "PayloadError",
    "ProgramError",
    "RunError",
    "TypeMismatch",
    "UnsupportedOp",
]

_BUG = "this is a bug in executorch-coreml; please report it with the model's line"


class CoreMLError(Exception):
    """Base of all errors of this package.

    Args:
        message: What went wrong, as one sentence without the final full stop.
        location: Where, in the user's terms: ``"node div_2 at model.py:41 in encoder.ffn"``.
        hint: What the user can do about it; :attr:`remedy` if None.

    Attributes:
        remedy: What helps against most errors of the type, if there is such a thing.
    """

    remedy: ClassVar[str | None] = None

    def __init__(self, message: str, *, location: str | None = None, hint: str | None = None):
        self.message = message
        self.location = location
        self.hint = hint = hint or self.remedy
        text = f"{location}: {message}" if location else message
        if hint:
            text = f"{text.rstrip('.')}. Hint: {hint}"
        super().__init__(text)


class OptionsError(CoreMLError, ValueError):
    """An option that is unknown, malformed or contradicts another one."""

    remedy = (
        "docs/compile_options.md has the options, docs/quantization.md those of the quantizer, "
        "docs/runtime.md those of a run"
    )


class CompileError(CoreMLError):
    """A PyTorch program could not be turned into a Core ML model."""


class UnsupportedOp(CompileError, NotImplementedError):
    """One or more ops, or arguments of ops, that Core ML cannot express."""

    remedy = "rewrite that line, or set lower_full_graph=False to run the op outside the delegate"


class LoweringError(CompileError):
    """A bug of ours: a rule raised or emitted something wrong. The cause is chained."""

    remedy = _BUG


class TypeMismatch(CompileError):
    """A lowered value has another dtype or shape than the one PyTorch computed for it."""

    remedy = _BUG


class PackageError(CompileError):
    """A finished MIL program could not be serialised."""


class PayloadError(CoreMLError, ValueError):
    """Bytes that are not what they claim to be: a payload, a ``.pte`` or a weight file.

    Args:
        offset: Byte offset of the first thing that is wrong, where one can be named.
    """

    remedy = "it is damaged, cut short or something else than its name says; make or copy it again"

    def __init__(self, message: str, *, offset: int | None = None, hint: str | None = None):
        self.offset = offset
        location = None if offset is None else f"at byte {offset}"
        super().__init__(message, location=location, hint=hint)


class ProgramError(CoreMLError, ValueError):
    """An ML Program that is malformed; the location names function, op and value."""

    remedy = "make the model again; if the tool that made it is not at fault, please report it"


class RunError(CoreMLError, RuntimeError):
    """A model that was read, but cannot run as asked."""


class MissingKernel(RunError):
    """The engine lacks kernels for some MIL ops of a program.

    Args:
        ops: One line per op: ``"<function>: <op type> <op name>"``, with the reason in parentheses
            where it is known.
        location: Which model.
    """

    remedy = "run the program on an Apple device, or report the op"

    def __init__(self, ops: Sequence[str], *, location: str | None = None, hint: str | None = None):
        self.ops = tuple(ops)
        message = f"no kernel for {len(self.ops)} op(s): " + "; ".join(self.ops)
        super().__init__(message, location=location, hint=hint)


class InputError(RunError):
    """An input of a model run has a wrong name, dtype, shape or value."""

    remedy = "etcoreml inspect shows what a model takes"
