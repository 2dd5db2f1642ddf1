"""Memory of a process that runs for months: garbage collection, and what is freed."""

from __future__ import annotations

import ctypes
import gc

NEW_OBJECTS = 50_000
"""Objects after which the garbage collector looks at the new ones.

The interpreter's 700 are made by a few alarms, which still wait for the disk and the broker then: each look finds
nothing and makes them old, and the old ones are looked through again and again. 10,000 are made by alarms that wait to
be notified, and every push of that moment waited for 2 ms, twice a second.
"""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_RECEIVED = 256 * 1024
"""Bytes that asyncio allocates each time that it receives, and cuts down to what came."""
_LARGE, _TRIMMED = _RECEIVED + 64 * 1024, 4 * _RECEIVED


def tune_memory() -> bool:
    """Collect garbage less often, and return what is freed to the system; return True if the C library can.

    By default glibc raises its threshold for large blocks once one is freed: pages of lists then lie between what is
    kept, and the room that they leave stays with the process. Blocks to receive into are smaller than the threshold: to
    map and unmap one for each request costs more than to parse it.
    """
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl, macOS
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_M_TRIM_THRESHOLD, _TRIMMED))
