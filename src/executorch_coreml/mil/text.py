"""MIL text, the ``model.mil`` of a compiled model -> :class:`~executorch_coreml.mil.types.Program`.

Apple publishes no grammar. This one is drawn from what its compiler writes, versions 1.0 (scalars
are ``tensor<int32, []>``) and 1.3 (``int32``)::

    program(1.3)
    [buildInfo = dict<string, string>({{"coremlc-version", "3500.32.1"}})]
    {
        func main<ios18>(state<tensor<fp16, [1, 4]>> memory, tensor<fp16, [?, 4]> x) [ATTRIBUTES] {
                int32 axis = const()[name = string("axis"), val = int32(-1)];
                tensor<fp16, [1, 4]> held = read_state(input = memory)[name = string("read")];
                tensor<fp16, [?, 2]> a, tensor<fp16, [?, 2]> b = split(axis = axis, ...);
                tensor<fp16, [?, 8]> y = concat(axis = axis, values = (x, held));
                write_state(data = held, input = memory);
            } -> (y);
    }

An argument is the name of a value or a literal, several are in parentheses; attributes are literals
(:mod:`executorch_coreml.mil.text_values`). The blocks of ``cond`` and ``while_loop`` follow the
attributes of the op, as ``NAME(TYPE name, ...) { ... } -> (names)`` with commas between; name,
inputs and commas may be absent. No compiled model with such ops was at hand, so this form is the
one thing here that is not taken from samples. ``//`` and ``/* */`` comments are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from executorch_coreml.mil.invariants import Scope
from executorch_coreml.mil.text_lexer import Tokens
from executorch_coreml.mil.text_values import ValueReader, Weights
from executorch_coreml.mil.types import (
    Argument,
    Block,
    Constant,
    Function,
    Op,
    Program,
    Ref,
    Value,
)

OPSETS = {
    "ios15": "CoreML5",
    "ios16": "CoreML6",
    "ios17": "CoreML7",
    "ios18": "CoreML8",
    "ios26": "CoreML9",
}
"""Opsets as text writes them -> as the protobuf does. CoreML5 is of specification version 6, and so
on."""


def parse(text: str, weights: Weights, source: str = "MIL text") -> Program:
    """Read a program.

    Args:
        text: All of it.
        weights: Opens a weight file by the name that the text calls it.
        source: What to call the text in messages.

    Raises:
        ProgramError: The text is malformed; line and column are of the first token that is wrong.
        PayloadError: A weight file is missing or malformed.
    """
    return _Parser(Tokens(text, source), weights).program()


class _Parser:
    def __init__(self, tokens: Tokens, weights: Weights):
        self._tokens = tokens
        self._values = ValueReader(tokens, weights)

    def program(self) -> Program:
        tokens = self._tokens
        tokens.expect("program")
        tokens.expect("(")
        if tokens.kind != "number" or tokens.text.partition(".")[0] != "1":
            tokens.fail(f"programs are of version 1.x, this is {tokens.shown()}")
        tokens.advance()
        tokens.expect(")")
        attributes = self._attributes()
        tokens.expect("{")
        functions: dict[str, Function] = {}
        while not tokens.take("}"):
            start = tokens.start
            function = self._function()
            if function.name in functions:
                tokens.fail("the function is defined twice", start)
            functions[function.name] = function
            tokens.within = ""
        if tokens.kind != "end":
            tokens.fail(f"the program has ended, but then comes {tokens.shown()}")
        return Program(MappingProxyType(functions), attributes)

    def _function(self) -> Function:
        tokens = self._tokens
        tokens.expect("func")
        name = tokens.name("the name of a function")
        tokens.within = f"function {name!r}"
        tokens.expect("<")
        start, opset = tokens.start, tokens.name("an opset")
        if opset not in OPSETS:
            tokens.fail(f"opset {opset!r} is none of {', '.join(OPSETS)}", start)
        tokens.expect(">")
        scope = Scope()
        inputs = self._inputs(scope)
        attributes = self._attributes()
        body = self._block((), scope, 0)
        tokens.expect(";")
        return Function(name, OPSETS[opset], inputs, body, attributes)

    def _inputs(self, scope: Scope) -> tuple[Value, ...]:
        return tuple(self._listed("(", ")", lambda: self._value(scope)))

    def _value(self, scope: Scope) -> Value:
        """A type and a name, which is new in ``scope``."""
        tokens = self._tokens
        kind = self._values.type()
        start, name = tokens.start, tokens.name("the name of a value")
        scope.define(name, lambda message: tokens.error(f"value {name!r}: {message}", start))
        return Value(name, kind)

    def _block(self, inputs: tuple[Value, ...], scope: Scope, depth: int) -> Block:
        tokens, operations = self._tokens, []
        self._values.require_depth(depth)
        tokens.expect("{")
        within = tokens.within
        while not tokens.take("}"):
            operations.append(self._op(scope, depth))
            tokens.within = within
        tokens.expect("->")
        outputs = self._listed("(", ")", lambda: self._output(scope))
        return Block(inputs, tuple(operations), tuple(outputs))

    def _output(self, scope: Scope) -> str:
        tokens = self._tokens
        start, name = tokens.start, tokens.name("the name of a value")
        scope.require_output(
            name, lambda message: tokens.error(f"value {name!r}: {message}", start)
        )
        return name

    def _op(self, scope: Scope, depth: int) -> Op:
        tokens, function = self._tokens, self._tokens.within
        made = Scope(scope)  # the op's own outputs: not yet visible in its arguments and blocks
        outputs: list[Value] = []
        if tokens.kind == "name" and tokens.peek() != "(":
            outputs.append(self._value(made))
            tokens.within = f"{function}, op {outputs[0].name!r}"
            while tokens.take(","):
                outputs.append(self._value(made))
            tokens.expect("=")
        op = tokens.name("an op")
        first = f" {outputs[0].name!r}" if outputs else ""
        tokens.within = f"{function}, op {op}{first}"
        inputs: dict[str, tuple[Argument, ...]] = {}
        self._listed("(", ")", lambda: self._argument(inputs, scope))
        attributes = self._attributes()
        blocks = self._blocks(scope, depth + 1)
        tokens.expect(";")
        for value in outputs:
            scope.define(value.name, tokens.error)
        return Op(op, inputs, tuple(outputs), attributes, blocks)

    def _argument(self, inputs: dict[str, tuple[Argument, ...]], scope: Scope) -> None:
        tokens = self._tokens
        start, name = tokens.start, tokens.name("the name of an input")
        if name in inputs:
            tokens.fail(f"input {name!r} is given twice", start)
        tokens.expect("=")
        if tokens.text == "(":
            inputs[name] = tuple(self._listed("(", ")", lambda: self._binding(name, scope)))
        else:
            inputs[name] = (self._binding(name, scope),)

    def _binding(self, name: str, scope: Scope) -> Argument:
        tokens = self._tokens
        if self._values.at_literal():
            return self._values.literal()
        start, value = tokens.start, tokens.name("a value or a literal")
        scope.require(value, lambda message: tokens.error(f"input {name!r} {message}", start))
        return Ref(value)

    def _attributes(self) -> dict[str, Constant]:
        tokens, found = self._tokens, dict[str, Constant]()

        def attribute() -> None:
            start, name = tokens.start, tokens.name("the name of an attribute")
            if name in found:
                tokens.fail(f"attribute {name!r} is given twice", start)
            tokens.expect("=")
            found[name] = self._values.literal()

        if tokens.text == "[":
            self._listed("[", "]", attribute)
        return found

    def _blocks(self, scope: Scope, depth: int) -> tuple[Block, ...]:
        tokens, blocks = self._tokens, list[Block]()
        while tokens.text != ";":
            if blocks:
                tokens.take(",")
            if tokens.kind == "name":
                tokens.advance()
            inner = Scope(scope)
            inputs = self._inputs(inner) if tokens.text == "(" else ()
            blocks.append(self._block(inputs, inner, depth))
        return tuple(blocks)

    def _listed(self, opening: str, closing: str, item: Callable[[], Any]) -> list[Any]:
        """What ``item`` reads, between brackets and commas."""
        tokens, found = self._tokens, list[Any]()
        tokens.expect(opening)
        while not tokens.take(closing):
            if found:
                tokens.expect(",")
            found.append(item())
        return found
