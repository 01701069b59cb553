"""What is wrong with a JSON text, in the words and at the offsets of rapidjson, TensorFlow Serving's parser."""

from __future__ import annotations

import math
import re

_END = "\0"
_CLOSERS = {"[": "]", "{": "}"}
_MISSING_COMMA = {
    "]": "Missing a comma or ']' after an array element.",
    "}": "Missing a comma or '}' after an object member.",
}
_LITERALS = {"n": "null", "t": "true", "f": "false"}
_PYTHON_SPELLINGS = {"Inf": "Infinity", "-Inf": "-Infinity", "-NaN": "NaN"}
_INVALID_VALUE = "Invalid value."

_SPACE = re.compile(r"[ \t\n\r]*")
_DIGITS = re.compile(r"[0-9]+")
_PLAIN_TEXT = re.compile(r'(?:[^"\\\x00-\x1f]+|\\["\\/bfnrt])*')
_HEX = re.compile(r"[0-9A-Fa-f]{4}")


class JsonSyntaxError(Exception):
    """Says what is wrong; `position` is the index of the character where it shows."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


def check_syntax(text: str) -> str:
    """`text` in the spelling that Python's parser takes; raises JsonSyntaxError where rapidjson refuses.

    rapidjson alone takes `Inf` and `-NaN`, and ends at a NUL. Values may be nested to any depth.
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._copied = 0
        self._pieces: list[str] = []

    def scan(self) -> str:
        self._skip_space()
        if self._next() == _END:
            raise self._error("The document is empty.")
        closers: list[str] = []
        while True:
            opener = self._next()
            if opener in _CLOSERS:
                self._position += 1
                closer = _CLOSERS[opener]
                self._skip_space()
                if not self._take(closer):
                    closers.append(closer)
                    if closer == "}":
                        self._member_name()
                    continue
            else:
                self._scalar(opener)
            if not self._leave(closers):
                break
        if self._next() != _END:
            raise self._error("The document root must not be followed by other values.")
        return "".join(self._pieces) + self._text[self._copied : self._position]

    def _leave(self, closers: list[str]) -> bool:
        """Go from the end of a value to the next value, if any; `closers` end the open lists and objects."""
        while True:
            self._skip_space()
            if not closers:
                return False
            if self._take(","):
                self._skip_space()
                if closers[-1] == "}":
                    self._member_name()
                return True
            if not self._take(closers[-1]):
                raise self._error(_MISSING_COMMA[closers[-1]])
            closers.pop()

    def _member_name(self) -> None:
        if self._next() != '"':
            raise self._error("Missing a name for object member.")
        self._string()
        self._skip_space()
        if not self._take(":"):
            raise self._error("Missing a colon after a name of object member.")
        self._skip_space()

    def _scalar(self, first: str) -> None:
        if first == '"':
            self._string()
        elif first in _LITERALS:
            self._word(_LITERALS[first])
        else:
            self._number()

    def _string(self) -> None:
        self._position += 1
        while True:
            self._skip(_PLAIN_TEXT)
            stopper = self._next()
            if stopper == '"':
                self._position += 1
                return
            if stopper == _END:
                raise self._error("Missing a closing quotation mark in string.")
            escape = self._position
            if stopper != "\\" or self._text[escape + 1 : escape + 2] != "u":
                raise self._error("Invalid escape character in string.")
            if 0xD800 <= self._hex(escape) <= 0xDBFF and not (
                self._text.startswith("\\u", self._position) and 0xDC00 <= self._hex(escape) <= 0xDFFF
            ):
                raise JsonSyntaxError("The surrogate pair in string is invalid.", escape)

    def _hex(self, escape: int) -> int:
        match = _HEX.match(self._text, self._position + 2)
        if match is None:
            raise JsonSyntaxError("Incorrect hex digit after \\u escape in string.", escape)
        self._position = match.end()
        return int(match[0], 16)

    def _word(self, word: str) -> None:
        for letter in word:
            if not self._take(letter):
                raise self._error(_INVALID_VALUE)

    def _number(self) -> None:
        start = self._position
        self._take("-")
        if self._next() in "NI":
            if self._next() == "N":
                self._word("NaN")
            else:
                self._word("Inf")
                if self._next() == "i":
                    self._word("inity")
            self._respell(start)
            return
        if not self._take("0") and not self._skip(_DIGITS):
            raise self._error(_INVALID_VALUE)
        if self._take(".") and not self._skip(_DIGITS):
            raise self._error("Miss fraction part in number.")
        if self._take("e") or self._take("E"):
            if not self._take("+"):
                self._take("-")
            if not self._skip(_DIGITS):
                raise self._error("Miss exponent in number.")
        if math.isinf(float(self._text[start : self._position])):
            raise JsonSyntaxError("Number too big to be stored in double.", start)

    def _respell(self, start: int) -> None:
        spelling = _PYTHON_SPELLINGS.get(self._text[start : self._position])
        if spelling is not None:
            self._pieces += self._text[self._copied : start], spelling
            self._copied = self._position

    def _next(self) -> str:
        return self._text[self._position : self._position + 1] or _END

    def _take(self, character: str) -> bool:
        taken = self._next() == character
        self._position += taken
        return taken

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self._text, self._position)
        if match is None:
            return False
        self._position = match.end()
        return True

    def _skip_space(self) -> None:
        self._skip(_SPACE)

    def _error(self, message: str) -> JsonSyntaxError:
        return JsonSyntaxError(message, self._position)
