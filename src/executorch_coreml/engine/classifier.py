"""Classifiers: the op ``classify`` at the end of a program, and what a caller gets of it.

coremltools puts it there (``ClassifierConfig``): it names the probabilities that the program has
computed. Its results are a text or an integer and a dictionary, which no op can use; so the graph
ends with the probabilities, and the rest is done with them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import Constant, Function, Op, Ref

Label: TypeAlias = "str | int"


@dataclass(frozen=True, slots=True)
class Classifier:
    """What stands in for a ``classify`` op.

    Attributes:
        label, probabilities: The names of its two outputs.
        source: The name of the tensor of probabilities, in the order of ``classes``.
        classes: All labels, all of one type.
    """

    label: str
    probabilities: str
    source: str
    classes: tuple[Label, ...]

    def results(self, values: np.ndarray[Any, Any]) -> dict[str, Label | dict[Label, float]]:
        """The outputs by name: the likeliest label, the first of equals; and label -> probability.

        Raises:
            ProgramError: There are more or fewer probabilities than labels.
        """
        flat = values.reshape(-1)
        if flat.size != len(self.classes):
            raise ProgramError(
                f"{self.source} has {flat.size} values for {len(self.classes)} classes",
                location=f"op classify {self.label}",
            )
        return {
            self.label: self.classes[int(flat.argmax())],
            self.probabilities: dict(zip(self.classes, flat.tolist(), strict=True)),
        }


def split_classifier(function: Function) -> tuple[Function, Classifier | None]:
    """The function with the probabilities among its outputs in place of what ``classify`` makes.

    Raises:
        ProgramError: A ``classify`` op whose classes are not constant.
    """
    made = {op.outputs[0].name: op for op in function.body.operations if op.type == "const"}
    for op in function.body.operations:
        if op.type == "classify" and op.outputs[0].name in function.body.outputs:
            classifier = _classifier(function, op, made)
            names = [n for n in function.body.outputs if n not in {v.name for v in op.outputs}]
            outputs = tuple(dict.fromkeys((*names, classifier.source)))
            kept = tuple(other for other in function.body.operations if other is not op)
            body = replace(function.body, operations=kept, outputs=outputs)
            return replace(function, body=body), classifier
    return function, None


def _classifier(function: Function, op: Op, constants: Mapping[str, Op]) -> Classifier:
    (source,), (classes,) = (
        op.inputs.get("probabilities", (None,)),
        op.inputs.get("classes", (None,)),
    )
    if isinstance(classes, Ref) and classes.name in constants:
        classes = constants[classes.name].attributes.get("val")
    if not isinstance(source, Ref) or not isinstance(classes, Constant) or len(op.outputs) != 2:
        raise ProgramError(
            "needs computed probabilities and constant classes, and makes two outputs",
            location=f"function {function.name}, op classify {op.name}",
        )
    labels = tuple(_label(item) for item in classes.data)
    return Classifier(op.outputs[0].name, op.outputs[1].name, source.name, labels)


def _label(item: Any) -> Label:
    data = item.data if isinstance(item, Constant) else item
    return data if isinstance(data, str) else int(data)


__all__ = ["Classifier", "Label", "split_classifier"]
