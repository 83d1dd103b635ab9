"""XML whose elements say of what type they are (`type="integer"`), as Ruby on Rails and Braintree write it.

Read by expat without any document type: whoever may declare one may also declare entities, which grow without bounds or
name files. Nothing is ever fetched, and nesting is bounded.
"""

import re
from collections.abc import Mapping
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape

from receiver.sources.documents import UnreadableError

_DEEPEST: Final = 100
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,4300}")
_BOOLEANS: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def parsed(text: bytes) -> tuple[str, object]:
    """The root's name and its content.

    Elements become dicts, with underscores for the hyphens of names; `array` becomes a list, and so does what stands
    there twice; `integer`, `boolean` and `nil` become what they say; all else, times and decimals too, stays text.

    Args:
        text: in UTF-8, whatever it says of itself.

    Raises:
        UnreadableError: `body_empty`; `xml_invalid`: it is no XML, declares a document type, is over 100 levels deep,
            or a value is not of the type that it says.
    """
    if not text:
        raise UnreadableError("body_empty")
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(text.decode(), True)  # noqa: FBT003  pyexpat has no names for its arguments
    except (UnicodeDecodeError, expat.ExpatError):
        raise UnreadableError("xml_invalid") from None
    return reader.root


def _refuse(*_: object) -> None:
    raise UnreadableError("xml_invalid")


class _Element:
    """One that is open."""

    __slots__ = ("children", "name", "nil", "texts", "type")

    def __init__(self, name: str, attributes: Mapping[str, str]) -> None:
        self.name = name.replace("-", "_")
        self.type = attributes.get("type")
        self.nil = attributes.get("nil") == "true"
        self.children: list[tuple[str, object]] = []
        self.texts: list[str] = []

    def content(self) -> object:
        """What it holds, now that all of it was read."""
        if self.type == "array":
            return [value for _, value in self.children]
        if self.children:
            return _by_name(self.children)
        text = "".join(self.texts)
        if self.nil and not text:
            return None
        return text if self.type not in {"integer", "boolean"} else _valued(self.type, text.strip())


def _valued(kind: str | None, text: str) -> int:
    if kind == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "boolean" and text in _BOOLEANS:
        return _BOOLEANS[text]
    raise UnreadableError("xml_invalid")


def _by_name(children: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, list[object]] = {}
    for name, value in children:
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


class _Reader:
    """Builds values as elements end, without recursion."""

    def __init__(self) -> None:
        self.root: tuple[str, object] = ("", None)
        self._open: list[_Element] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if len(self._open) >= _DEEPEST:
            raise UnreadableError("xml_invalid")
        self._open.append(_Element(name, attributes))

    def end(self, _: str) -> None:
        """It ends."""
        element = self._open.pop()
        value = element.name, element.content()
        if self._open:
            self._open[-1].children.append(value)
        else:
            self.root = value

    def text(self, text: str) -> None:
        """Text, or the white space between elements."""
        self._open[-1].texts.append(text)


def written(name: str, value: object) -> str:
    """An element and all below it: the way back of `parsed`, for samples. Names may have underscores.

    Args:
        name: of the element.
        value: dicts, lists, text, integers, booleans and None; text in the form of a time in UTC is written as one.
    """
    tag = name.replace("_", "-")
    if isinstance(value, Mapping):
        return f"<{tag}>{''.join(written(str(inner), part) for inner, part in value.items())}</{tag}>"
    if isinstance(value, list | tuple):
        return f'<{tag} type="array">{"".join(written(tag.removesuffix("s"), part) for part in value)}</{tag}>'
    if value is None:
        return f'<{tag} nil="true"/>'
    if isinstance(value, bool):
        return f'<{tag} type="boolean">{str(value).lower()}</{tag}>'
    if isinstance(value, int):
        return f'<{tag} type="integer">{value}</{tag}>'
    typed = ' type="datetime"' if _TIME.fullmatch(str(value)) else ""
    return f"<{tag}{typed}>{escape(str(value))}</{tag}>"
