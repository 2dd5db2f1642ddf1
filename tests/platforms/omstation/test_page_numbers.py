"""`pageNum` of the lists: a number, or a text as in the vendor's sample; it goes out as a text."""

from __future__ import annotations

from typing import Any

import pytest
import voluptuous as vol

from tests.platforms.omstation.connected import calls, simulated
from tests.platforms.omstation.simulated import COLLECTIONS


@pytest.mark.parametrize("page", [2, "2"])
async def test_page_number_is_sent_as_text(page: Any) -> None:
    async with simulated() as (simulator, run):
        await run.act("authorisation_list", pageNum=page)
        assert calls(simulator, COLLECTIONS)[-1].body["pageNum"] == "2"


@pytest.mark.parametrize("page", [0, "0", "-1", "two", "", "²", True, 1.0, None])
async def test_invalid_page_number_is_refused(page: Any) -> None:
    async with simulated() as (_, run):
        with pytest.raises(vol.Invalid):
            await run.act("authorisation_list", pageNum=page)
