"""Vendor JSON: parsed tolerantly, secrets dropped, and pydantic types for loose values.

Every rule here answers a quirk that the vendors' documents or devices show (docs/quirks.md).
"""

from __future__ import annotations

import gc
import hashlib
import hmac
import json
import math
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, ValidationInfo

from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.redaction import SECRET_KEYS, redact

MAX_DEPTH = 64
FEW_NAMES = 200

_SALT = secrets.token_bytes(16)

Pairs = list[tuple[str, Any]]


def secret_digest(text: str) -> str:
    """Return a keyed hash that stands in for a secret: equal for equal secrets, valid within this process."""
    return "sealed:" + hmac.new(_SALT, text.encode(), hashlib.sha256).hexdigest()


def parse(data: bytes, *, pairs: Callable[[Pairs], dict[str, Any]] | None = None, sealed: bool = False) -> Any:
    """Parse a vendor's JSON: UTF-8 (a byte order mark is fine) or GB 18030; keys stripped; secrets dropped.

    `pairs` decides what becomes of an object's members where a key may stand twice; without it the last wins. With
    `sealed` a secret is replaced by `secret_digest()` of it instead of dropped. Raises InvalidResponse.
    """
    try:
        value = _loads(data, pairs)
        names = tuple(value) if _is_flat(value) else frozenset(_names(value))
        secret, blank = (_check_names_cached if len(names) <= FEW_NAMES else _check_names)(names)
        if secret:
            value = drop_secrets(value, sealed=sealed)
        if blank:
            value = strip_keys(value)
    except (ValueError, RecursionError) as error:  # orjson nests deeper than our own walks
        raise InvalidResponse(f"not JSON: {_where(data, error)}", code="malformed_json") from error
    return value


def _is_flat(value: Any) -> bool:
    """Return True for an object without lists and objects, which the garbage collector does not track."""
    return value.__class__ is dict and not gc.is_tracked(value)


def _check_names(names: Collection[str]) -> tuple[bool, bool]:
    """Return True if a name stands for a secret, and True if one has blanks around it."""
    return any(name.strip().lower() in SECRET_KEYS for name in names), any(name != name.strip() for name in names)


_check_names_cached = lru_cache(maxsize=256)(_check_names)
"""A vendor's responses repeat their member names; one with more names than these is not cached."""


def _names(value: Any) -> set[str]:
    """Return every member name in a value: far fewer than members, so that most responses need no copy."""
    names: set[str] = set()
    todo = [value]
    while todo:
        item = todo.pop()
        children: Iterable[Any] = ()
        if isinstance(item, dict):
            names.update(item)
            # The garbage collector has looked already: an object that it does not track holds no list and no object.
            children = item.values() if gc.is_tracked(item) else ()
        elif isinstance(item, list):
            children = item
        todo += [child for child in children if child.__class__ is dict or child.__class__ is list]  # as JSON has them
    return names


def _loads(data: bytes, pairs: Callable[[Pairs], dict[str, Any]] | None) -> Any:
    text = data.removeprefix(b"\xef\xbb\xbf")
    if pairs is None:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            _decode(text)  # what is left to json below are other encodings and numbers beyond 64 bit
    value = json.loads(_decode(text), object_pairs_hook=pairs, parse_constant=_no_constant, parse_float=_finite)
    _limit_depth(value)
    return value


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("gb18030")


def _no_constant(name: str) -> Any:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _finite(digits: str) -> float | None:
    """Return a float, None for what is beyond a double and no JSON."""
    value = float(digits)
    return value if math.isfinite(value) else None


def _limit_depth(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        message = f"nested deeper than {MAX_DEPTH}"
        raise ValueError(message)
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _limit_depth(child, depth + 1)


def _where(data: bytes, error: Exception) -> str:
    start = data[:60].decode("utf-8", "replace")
    return f"{error} (it starts with {redact(start)!r})"


def drop_secrets(value: Any, *, sealed: bool = False) -> Any:
    """Return a value without the members whose names are in SECRET_KEYS, at any depth; with digests where asked."""
    if isinstance(value, list):
        return [drop_secrets(item, sealed=sealed) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        if key.strip().lower() not in SECRET_KEYS:
            kept[key] = drop_secrets(item, sealed=sealed)
        elif sealed and isinstance(item, str):
            kept[key] = secret_digest(item)
    return kept


def strip_keys(value: Any) -> Any:
    """Return a value without blanks around its member names, at any depth."""
    if isinstance(value, list):
        return [strip_keys(item) for item in value]
    if isinstance(value, dict):
        return {key.strip(): strip_keys(item) for key, item in value.items()}
    return value


# Loose values

_NUMBER = re.compile(r"\s*([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*[%a-zA-Zµ/²³°]*\s*\Z")
_MOST_DIGITS = 400
_LARGEST = 1e200
"""Arithmetic with larger ones would raise OverflowError; NaN and infinity are no less than it either."""
_TRUE = frozenset(("true", "1", "on", "yes"))
_FALSE = frozenset(("false", "0", "off", "no"))
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_MILLISECONDS = 10**11


def number(value: Any) -> int | float | None:
    """Return a number from 5, "5", "66.67%" or "58640 Kbps"; None from "", other texts, and 1e200 or more."""
    if isinstance(value, bool) or value is None:
        return None
    if not isinstance(value, int | float):
        match = _NUMBER.match(value) if isinstance(value, str) else None
        if match is None or len(match[1]) > _MOST_DIGITS:
            return None
        value = float(match[1]) if set(match[1]) & set(".eE") else int(match[1])
    return value if abs(value) < _LARGEST else None


def boolean(value: Any) -> bool | None:
    """Return a boolean from true, 1, "1", "true", "on" and their opposites; None from anything else."""
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    word = str(value).strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def text(value: Any) -> str | None:
    """Return a text, None from null and from blanks."""
    if isinstance(value, str):
        return value.strip() or None
    if value is None or isinstance(value, dict | list):
        return None
    return str(value).strip() or None


def texts(item: Mapping[str, Any], names: Iterable[str]) -> list[str | None]:
    """Return the members with these names, each as `text` returns it; None for a missing one."""
    values = map(item.get, names)
    return [(value.strip() or None) if value.__class__ is str else text(value) for value in values]


def timestamp(value: Any, zone: tzinfo) -> datetime | None:
    """Return a time from ISO 8601 with up to nine fraction digits, `YYYY-MM-DD HH:MM:SS` in `zone`, epoch s or ms.

    None from "" and from what lies outside 2000 to 2100.
    """
    found = _parse_timestamp(value, zone)
    if found is None or _EARLIEST.year < found.year < _LATEST.year - 1:  # which needs no look at the zones
        return found
    return found if _EARLIEST <= found < _LATEST else None


def _parse_timestamp(value: Any, zone: tzinfo) -> datetime | None:
    stamp = None if isinstance(value, str) and value[4:5] == "-" else number(value)  # after a year, in no number
    try:
        if stamp is not None:
            return datetime.fromtimestamp(stamp / 1000 if abs(stamp) >= _MILLISECONDS else stamp, zone)
        if not isinstance(value, str):
            return None
        found = datetime.fromisoformat(value.strip().replace("/", "-"))
        offset = found.utcoffset()
        return found.replace(tzinfo=zone if offset is None else _zone_of(offset))
    except (ValueError, OverflowError, OSError):
        return None


@lru_cache(maxsize=256)
def _zone_of(offset: timedelta) -> timezone:
    """Return the one zone object of an offset: parsing makes one for each time, larger than the time itself."""
    return timezone(offset)


def iso(value: datetime | None) -> str | None:
    """Return ISO 8601 with offset, to the second unless there is a fraction."""
    return None if value is None else value.isoformat(timespec="milliseconds" if value.microsecond else "seconds")


def _timestamp_in_context(value: Any, info: ValidationInfo) -> datetime | None:
    return value if isinstance(value, datetime) else timestamp(value, (info.context or {}).get("zone", UTC))


def _list(value: Any) -> Any:
    return [] if value in (None, "", {}) else value


def _dict(value: Any) -> Any:
    return {} if value in (None, "", []) else value


Number = Annotated[int | float | None, BeforeValidator(number)]
Boolean = Annotated[bool | None, BeforeValidator(boolean)]
_Plain = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, strict=True)]
Text = Annotated[_Plain | Annotated[str | None, BeforeValidator(text)], Field(union_mode="left_to_right")]
Timestamp = Annotated[datetime | None, BeforeValidator(_timestamp_in_context)]
"""Validate with `context={"zone": tzinfo}`."""
EmptyList = BeforeValidator(_list)
"""For a list that some vendors send as {} or "" when it is empty."""
EmptyDict = BeforeValidator(_dict)
"""For an object that some vendors send as [] or "" when it is empty."""


_MAX_FIELDS_SETS = 1_000
_FIELDS_SETS: dict[frozenset[str], set[str]] = {}
"""The sets of fields that models were sent with, each once. A model is frozen, and a copy has a set of its own."""


class WireModel(BaseModel):  # noqa: PLW1641 - pydantic makes the hash, for it is frozen
    """Base of wire models: the vendor's own names; members that are not listed are ignored.

    Two are equal if the same fields were sent with the same values: a blank field is not a missing one.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    def model_post_init(self, _context: Any, /) -> None:
        """Share the set of fields that were sent: it takes half of a model's memory, and most devices send the same."""
        sent = self.model_fields_set
        if len(_FIELDS_SETS) > _MAX_FIELDS_SETS:
            _FIELDS_SETS.clear()
        object.__setattr__(self, "__pydantic_fields_set__", _FIELDS_SETS.setdefault(frozenset(sent), sent))

    def __eq__(self, other: object) -> bool:
        """Compare values and, unlike pydantic, which fields were sent."""
        equal = super().__eq__(other)
        if equal is True and isinstance(other, WireModel):
            return self.model_fields_set == other.model_fields_set
        return equal


def validation_errors(error: ValidationError) -> str:
    """Return a validation error in one line, without the values: `devices.0.device_mac: Field required`."""
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False))
