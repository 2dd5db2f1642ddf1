"""Device ids and topic segments made from vendors' ids."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

MAX_SEGMENT = 64
_NOT_SEGMENT = re.compile(r"[^a-z0-9_-]+")


@lru_cache(maxsize=4096)
def slug(text: str, limit: int = MAX_SEGMENT) -> str:
    """Return a topic segment for a vendor's id; one that is not in `[a-z0-9_-]` already gets a hash suffix.

    >>> slug("000EA93D022E"), slug("SIM 1")
    ('000ea93d022e', 'sim_1_6ab5ce53')
    """
    lower = text.lower()
    plain = _NOT_SEGMENT.sub("_", lower).strip("_")
    if plain == lower and 0 < len(plain) <= limit:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: limit - 9]}_{digest}".lstrip("_")


class Ids:
    """Device ids: `<backend>_<vendor id>[_<sub-device>…]`, the same in every run; two vendor ids never share one.

    `claims` (id → the vendor ids behind it) is kept on disk, so that the second of two ids that look alike keeps its
    suffix whichever comes first next time.
    """

    def __init__(self, assignments: dict[str, str] | None = None) -> None:
        self.assignments: dict[str, str] = assignments if assignments is not None else {}
        self._given: dict[tuple[str, ...], str] = {}

    def __call__(self, backend: str, *parts: str) -> str:
        """Return the id for a backend and vendor ids, outermost first."""
        given = self._given.get((backend, *parts))
        if given is None:
            self._given[backend, *parts] = given = self._assign(backend, *parts)
        return given

    def _assign(self, backend: str, *parts: str) -> str:
        vendor_id = "\x1f".join((backend, *parts))
        plain = slug("_".join((backend, *(slug(part) for part in parts))))
        if self.assignments.setdefault(plain, vendor_id) == vendor_id:
            return plain
        parted = (
            f"{plain[: MAX_SEGMENT - 9]}_{hashlib.sha256(vendor_id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
        )
        self.assignments.setdefault(parted, vendor_id)
        return parted
