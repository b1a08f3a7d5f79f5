"""MIL text -> tokens, one at a time."""

from __future__ import annotations

import re
from typing import NoReturn

from executorch_coreml.errors import ProgramError

HINT = "use the .mlpackage it was compiled from, or compile that again"

# \s* takes all there is: what follows it is never white space, so nothing is tried twice.
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<name>[^\W\d]\w*(?:@\w*)*)
    |(?P<number>[-+]?(?:
        0[xX][0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?(?:[pP][-+]?[0-9]+)?
        |(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?
        |(?i:inf|nan)\b))
    |(?P<string>"[^"\\]*(?:\\.[^"\\]*)*")
    |(?P<symbol>->|[()\[\]{}<>,;=?])
    |(?P<comment>//[^\n]*|/\*)
    |(?P<end>\Z)
    |(?P<other>.)
    )""",
    re.VERBOSE | re.DOTALL,
)

_ESCAPE = re.compile(
    r"\\(?:x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<one>.))",
    re.DOTALL,
)
_SIMPLE = {
    **dict(zip("abfnrtv0", "\a\b\f\n\r\t\v\0", strict=True)),
    **{c: c for c in "\"\\'/?\n"},
}
_PRINTED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_NAME = re.compile(r"[^\W\d]\w*(?:@\w*)*")
_SHOWN = 40


class Tokens:
    """A cursor over the tokens of a text.

    Attributes:
        kind: ``"name"``, ``"number"``, ``"string"``, ``"symbol"`` or ``"end"``.
        text: The token as it is written.
        start: Its offset in the text, in characters.
        within: What is being read, for messages: ``"function 'main', op add 'sum'"``.
    """

    def __init__(self, text: str, source: str):
        self._text = text
        self._source = source
        self.within = ""
        self.kind, self.text, self.start = "", "", 0
        self._end = 0
        self.advance()

    def advance(self) -> None:
        """
        Raises:
            ProgramError: What comes next starts no token.
        """
        self.kind, self.text, self.start, self._end = self._scan(self._end)

    def peek(self) -> str:
        """The text of the token after this one."""
        return self._scan(self._end)[1]

    def _scan(self, position: int) -> tuple[str, str, int, int]:
        while True:
            match = _TOKEN.match(self._text, position)
            assert match is not None  # "end" or "other" is at any place
            kind = match.lastgroup or "other"
            text, start, position = match[kind], match.start(kind), match.end()
            if kind == "other":
                what = "a string that does not end" if text == '"' else f"no token: {text!r}"
                self.fail(what, start)
            if kind != "comment":
                return kind, text, start, position
            if text == "/*":
                position = self._text.find("*/", position) + 2
                if position < 2:
                    self.fail("a comment that does not end", start)

    def take(self, symbol: str) -> bool:
        """Whether the token is ``symbol``, which is then passed."""
        if self.text != symbol:
            return False
        self.advance()
        return True

    def expect(self, symbol: str) -> None:
        """
        Raises:
            ProgramError: The token is not ``symbol``.
        """
        if not self.take(symbol):
            self.fail(f"expected {symbol!r}, got {self.shown()}")

    def name(self, what: str) -> str:
        """Passes a name.

        Raises:
            ProgramError: The token is none.
        """
        if self.kind != "name":
            self.fail(f"expected {what}, got {self.shown()}")
        found = self.text
        self.advance()
        return found

    def integer(self, what: str) -> int:
        """Passes an integer of at least 0.

        Raises:
            ProgramError: The token is none, or has more digits than an extent can have.
        """
        if self.kind != "number" or not self.text.isdigit() or len(self.text) > 20:
            self.fail(f"expected {what}, got {self.shown()}")
        found = int(self.text)
        self.advance()
        return found

    def string(self) -> str:
        """Passes a string literal; its contents without escapes.

        Raises:
            ProgramError: The token is none, or holds an escape that means nothing.
        """
        if self.kind != "string":
            self.fail(f"expected a string, got {self.shown()}")
        body, start = self.text[1:-1], self.start + 1

        def plain(match: re.Match[str]) -> str:
            one = match["one"]
            if one is not None and one in _SIMPLE:
                return _SIMPLE[one]
            code = int(match["x"] or match["u"] or match["U"] or "110000", 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                self.fail(f"no character is written {match[0]!r}", start + match.start())
            return chr(code)

        found = _ESCAPE.sub(plain, body) if "\\" in body else body
        self.advance()
        return found

    def shown(self) -> str:
        """The token for messages."""
        if self.kind == "end":
            return "the end of the text"
        cut = self.text if len(self.text) <= _SHOWN else self.text[:_SHOWN] + "..."
        return repr(cut)

    def error(self, message: str, start: int | None = None) -> ProgramError:
        """An error at offset ``start``; at the token if None."""
        position = self.start if start is None else start
        line = self._text.count("\n", 0, position) + 1
        column = position - self._text.rfind("\n", 0, position)
        where = f"{self._source}, line {line}, column {column}"
        where += f", {self.within}" if self.within else ""
        return ProgramError(message, location=where, hint=HINT)

    def fail(self, message: str, start: int | None = None) -> NoReturn:
        raise self.error(message, start)


def is_name(text: str) -> bool:
    """Whether a value or function can be called so in a text."""
    return _NAME.fullmatch(text) is not None


def quoted(text: str) -> str:
    """A string literal of ``text``."""
    return '"' + "".join(map(_printed, text)) + '"'


def _printed(character: str) -> str:
    if character in _PRINTED:
        return _PRINTED[character]
    return character if character.isprintable() else f"\\U{ord(character):08x}"
