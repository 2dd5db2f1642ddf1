"""Rows per page of the device lists: `page_records`, which the document does not name and the vendor's tools send."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fleet2mqtt.errors import RateLimited, Rejected
from fleet2mqtt.sdk.pagination import Page

DEVICES = "devices"
"""The endpoint of the lists: a login that is rejected says nothing about their pages."""
LARGEST_PAGE = 100
SIZES = (LARGEST_PAGE, 50, None)
"""Rows per page, from the one tried first; None leaves it to the vendor, whose default is 20."""
LEARNT_FOR = 86_400.0
"""Seconds after which a larger page is tried again: the server may have been updated."""


class PageSize:
    """The largest page that the server accepts, learnt from what it rejects."""

    def __init__(self) -> None:
        self._sizes: tuple[int | None, ...] = SIZES
        self._learnt_until = 0.0

    async def read_first(self, read: Callable[[int | None], Awaitable[Page]]) -> tuple[int | None, Page]:
        """Read a first page with the largest size that is accepted; return that size and the page.

        Raises BackendError: if every size is rejected, the error of the last one, and then nothing is learnt.
        """
        self.forget_before(time.monotonic())
        for index, size in enumerate(self._sizes):
            try:
                page = await read(size)
            except RateLimited:
                raise
            except Rejected as error:
                if size is None or error.endpoint != DEVICES or error.code == HTTPStatus.NOT_FOUND:
                    raise
                continue
            if _is_consistent(page, size):
                if index:
                    self._sizes, self._learnt_until = self._sizes[index:], time.monotonic() + LEARNT_FOR
                break
        return size, page

    def forget_before(self, now: float) -> None:
        """Forget a reduction that was learnt more than `LEARNT_FOR` seconds before `now` (`time.monotonic()`)."""
        if now >= self._learnt_until:
            self._sizes = SIZES


def _is_consistent(page: Page, size: int | None) -> bool:
    """Return False where the server sends smaller pages than it counts with: rows would be missed."""
    if size is None or page.total is None or page.pages is None:
        return True
    return page.count >= min(size, page.total) or page.count * page.pages >= page.total
