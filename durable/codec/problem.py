"""The words of every codec error: paths in the user's terms, what was expected, what was got."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import from_json

from durable.errors import DecodeError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails, ValidationError

Path = tuple[str | int, ...]
"""Names of fields, parameters and keys, and indexes of items, from the outside in."""

TAG: Final = "$type"
"""Key that names the class of a value where a union alone would not tell (see ``durable.codec.union``)."""

UNTAGGED: Final = "untagged"
"""Begins the labels of values of such a union that carry no tag."""

TAGGED: Final = frozenset({TAG, "value"})
"""The keys of a tagged value."""

MAX_PROBLEMS: Final = 5
"""So many problems of one value are told; the rest only counts."""

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80
_REPR.maxlevel = 3


def dotted(path: Iterable[str | int]) -> str:
    """A path as one would write it: ``order.items[3].price``."""
    text = ""
    for part in path:
        if isinstance(part, str) and part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


def named(path: Path, whole: str = "the value") -> str:
    """A path as the subject of a sentence."""
    return dotted(path) or whole


def short(value: Any) -> str:
    """A bounded ``repr`` that never raises."""
    try:
        return _REPR.repr(value)
    except Exception:  # noqa: BLE001 - the repr of a user's class, or of an integer with too many digits
        return f"<{type(value).__name__}>"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion in brackets, or nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class Subject(NamedTuple):
    """What is being read, as messages name it.

    Attributes:
        root: path of the whole value.
        name: name of the whole value where the root is empty.
        names: keys of the outermost object and what they are called; empty if it may have any.
        hide: whether values must not be shown, because some are secret.
    """

    root: Path = ()
    name: str = "the value"
    names: Mapping[str, str] = MappingProxyType({})
    hide: bool = False

    def path(self, path: Path) -> Path:
        """A path below the root; further arguments go by the name of their parameter, or of their keyword."""
        shown = self.names.get(str(path[0]), "") if path else ""
        if shown.startswith("**"):
            return self.root + (path[1:] or (shown.lstrip("*"),))
        return (*self.root, shown.lstrip("*"), *path[1:]) if shown else self.root + path

    def named(self, path: Path) -> str:
        """The subject of a sentence about this place."""
        return named(self.path(path), self.name)


def decode_error(error: ValidationError, text: str | bytes, subject: Subject) -> DecodeError:
    """The error for JSON that does not fit its annotation."""
    problems = describe(error, text, subject)
    return DecodeError("; ".join(words for _, words in problems), path=dotted(problems[0][0]))


def describe(error: ValidationError, text: str | bytes, subject: Subject) -> list[tuple[Path, str]]:
    """Path and words of each problem, those of one place together, at most ``MAX_PROBLEMS`` places."""
    details = error.errors(include_url=False)
    if details[0]["type"] == "json_invalid":
        reason = details[0]["msg"].removeprefix("Invalid JSON: ")
        return [(subject.root, f"expected {subject.named(())} to be JSON: {reason}")]
    places: dict[Path, list[ErrorDetails]] = {}
    raw = from_json(text)
    for detail in details:
        places.setdefault(_user_path(detail, raw), []).append(detail)
    problems = [
        (subject.path(path), _words(subject, path, found)) for path, found in list(places.items())[:MAX_PROBLEMS]
    ]
    if len(places) > MAX_PROBLEMS:
        problems.append((subject.root, f"and {len(places) - MAX_PROBLEMS} more"))
    return problems


_ABSENT: Final = frozenset({"missing", "missing_argument"})


def _user_path(detail: ErrorDetails, raw: Any) -> Path:
    """The location without the labels of union members and of tags, which the user never wrote.

    What is part of the value can be followed through the raw JSON, to the input of the error at its end. A label
    cannot, or leads elsewhere.
    """
    ways = list(_ways(detail["loc"], raw, is_absent=detail["type"] in _ABSENT))
    return next((path for path, found in ways if found == detail["input"]), ways[0][0])


def _ways(loc: Path, raw: Any, *, is_absent: bool) -> Iterator[tuple[Path, Any]]:
    """The readings of a location, likely ones first, with the part of the JSON that each ends at."""
    if not loc:
        yield (), raw
        return
    part, rest = loc[0], loc[1:]
    is_key = isinstance(raw, dict) and part in raw
    if is_key or (isinstance(raw, list) and isinstance(part, int) and part < len(raw)):
        is_tagged = is_key and part == "value" and raw.keys() == TAGGED
        for path, found in _ways(rest, raw[part], is_absent=is_absent):
            yield path if is_tagged else (part, *path), found
    elif is_absent and not rest:
        yield (part,), raw
    yield from _ways(rest, raw, is_absent=is_absent)


def _words(subject: Subject, path: Path, found: list[ErrorDetails]) -> str:
    where = subject.named(path)
    first = found[0]
    if first["type"] in _ABSENT:
        return f"expected {where} to be given"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        name = str(path[-1]) if path else ""
        if len(path) == 1 and subject.names:
            names = subject.names.values()
            return f"expected one of {', '.join(names)}, got {name!r}{did_you_mean(name, names)}"
        return f"expected {subject.named(path[:-1])} to have no {name!r}"
    if first["type"] == "union_tag_invalid":
        tags = str(first["ctx"]["expected_tags"]).split(", ")
        known = ", ".join(tag for tag in tags if not tag.startswith(f"'{UNTAGGED}"))
        return f"expected {where} to be of type {known}, got {first['ctx']['tag']!r}"
    got = "" if subject.hide else f", got {short(first['input'])}"
    wanted = [detail["msg"].removeprefix("Input should be ") for detail in found if _says_what(detail)]
    if wanted:
        return f"expected {where} to be {' or '.join(dict.fromkeys(wanted))}{got}"
    return f"expected {where} to be valid{got}: {first['msg'].removeprefix('Value error, ')}"


def _says_what(detail: ErrorDetails) -> bool:
    return detail["msg"].startswith("Input should be ")
