"""What a comparison found: plain data, and the sentences that follow from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from executorch_coreml.debug.measure import Error
from executorch_coreml.location import Location

PRECISION = "fp16 precision: in float32 the results are right"
PROGRAM = "the lowered program itself: it is wrong in float32 too"
QUANTIZED = "quantization: the results are as far away in float32"


@dataclass(frozen=True, slots=True)
class Row:
    """One value that the program computes: an op's, or a layer's where a reference model is given.

    Attributes:
        location: The op, the module it is in and the line that wrote it.
        delegate: Number of the delegate.
        dtype: What the value is in Core ML: ``"fp16"``, ``"fp32"``, ``"int32"``, ...
        error: Accumulated: of the whole program up to here against PyTorch's value.
        own: Of this op alone, given what PyTorch gives it, rounded to what it takes. None where
            that cannot be: what it is given is beyond fp16 already.
        float32: As ``error``, with the same program in float32. None for an attention, which the
            engine cannot show in float32.
    """

    location: Location
    delegate: int
    dtype: str
    error: Error
    own: Error | None
    float32: Error | None


@dataclass(frozen=True, slots=True)
class Output:
    """One result of the program against the model's own in PyTorch.

    Attributes:
        name: What the program calls it.
        error: As for a row.
        float32: Likewise; where that is bad, of the program lowered in float32: constants are fp16
            in the other, and may be beyond it.
    """

    name: str
    error: Error
    float32: Error


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one module, those of modules inside aside.

    Attributes:
        module: Its path, empty for the model itself.
        values: How many.
        error: Accumulated, of its last value.
        own: The worst of its values by themselves; None if there is none.
    """

    module: str
    values: int
    error: Error
    own: Error | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A lowered program against PyTorch.

    Attributes:
        rows: The values inside, in program order.
        outputs: The results.
        min_snr: In dB; less is bad.
        tolerance: The largest relative error of a result that is not bad, if one was given.
        layerwise: Whether the rows are layers, compared with a reference model.
        keep_fp32: What the program kept in float32 as it was compiled.
        proposal: What else to keep; for layers of a quantized model, what to leave in float.
        applied: The same with the proposal applied, if that was asked for.
    """

    rows: tuple[Row, ...]
    outputs: tuple[Output, ...]
    min_snr: float
    tolerance: float | None = None
    layerwise: bool = False
    keep_fp32: tuple[str, ...] = ()
    proposal: tuple[str, ...] = ()
    applied: Comparison | None = None

    @property
    def ok(self) -> bool:
        """Whether all results are as they should be, whatever happens inside."""
        return not any(self.beyond(output.error) for output in self.outputs)

    def beyond(self, error: Error) -> bool:
        """Whether the error of a result is too large."""
        return error.beyond(self.min_snr, self.tolerance)

    def bad(self, row: Row) -> bool:
        """Whether a value is bad by its own fault, or if that is unknown, whoever's it is."""
        return (row.own or row.error).beyond(self.min_snr)

    @property
    def first_bad(self) -> Row | None:
        """The first value, in program order, that is bad by its own fault; if none is, the first
        that is bad at all."""
        own = (row for row in self.rows if self.bad(row))
        return next(own, next((r for r in self.rows if r.error.beyond(self.min_snr)), None))

    @property
    def cause(self) -> str | None:
        """Why results are bad, told by whether they are in float32 too; None if all are good."""
        bad = [output for output in self.outputs if self.beyond(output.error)]
        if not bad:
            return None
        if not any(self.beyond(output.float32) for output in bad):
            return PRECISION
        return QUANTIZED if self.layerwise else PROGRAM

    @property
    def snr(self) -> float:
        """The lowest of the results, -inf if one is broken."""
        return min(
            (-float("inf") if o.error.broken else o.error.snr for o in self.outputs),
            default=float("inf"),
        )

    def worst(self, count: int | None = None) -> list[Row]:
        """The rows by their own error, broken ones and low ratios first, as many as asked for.

        Last are those that have none: they suffer from another's.
        """
        return sorted(
            self.rows, key=lambda row: (row.own is None, *_badness(row.own or row.error))
        )[:count]

    def layers(self) -> list[Layer]:
        """The rows by module, in the order in which modules compute their last value."""
        grouped: dict[str, list[Row]] = {}
        for row in self.rows:
            rows = grouped.pop(row.location.module, [])
            grouped[row.location.module] = [*rows, row]
        return [_layer(module, rows) for module, rows in grouped.items()]

    def __str__(self) -> str:
        return "\n".join(self._sentences())

    def _sentences(self) -> Iterator[str]:
        for output in self.outputs:
            verdict = "bad" if self.beyond(output.error) else "good"
            yield (
                f"output {output.name}: {verdict}, {describe(output.error)}; "
                f"in float32 {describe(output.float32)}"
            )
        if self.cause is not None:
            yield f"cause: {self.cause}"
        if (row := self.first_bad) is not None:
            yield f"first bad: {row.location}: {describe(row.own or row.error)}"
        if self.proposal:
            what = "leave in float" if self.layerwise else "keep in fp32"
            yield f"{what}: {', '.join(self.proposal)}"
        if self.applied is not None:
            yield f"with that: {decibels(self.snr)} -> {decibels(self.applied.snr)}"
            yield from (f"  {line}" for line in self.applied._sentences())


def _badness(error: Error) -> tuple[bool, float]:
    return (not error.broken, error.snr)


def _layer(module: str, rows: list[Row]) -> Layer:
    own = [row.own for row in rows if row.own is not None]
    return Layer(module, len(rows), rows[-1].error, min(own, key=_badness) if own else None)


def decibels(value: float) -> str:
    return f"{value:.1f} dB"


def describe(error: Error) -> str:
    """``24.1 dB, 3 overflow``: the ratio and what is not finite."""
    return ", ".join([decibels(error.snr), *counts(error)])


def counts(error: Error) -> list[str]:
    """What the ratio does not say."""
    named = {
        "overflow": error.overflow,
        "NaN": error.nan,
        "not infinite or NaN": error.unlike,
        "underflow": error.underflow,
        "NaN in PyTorch": error.expected_nan,
    }
    return [f"{count} {name}" for name, count in named.items() if count]
