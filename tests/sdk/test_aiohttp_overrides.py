"""Private members of aiohttp that the bridge relies on.

If a test fails after an update of aiohttp, adapt sdk/aiohttp_overrides.py and the upper bound in pyproject.toml. That
nothing is sent twice is tested in test_http_client.py.
"""

from __future__ import annotations

import aiohttp

from fleet2mqtt.sdk.aiohttp_overrides import disable_retries


async def test_disable_retries_sets_the_member_that_aiohttp_reads() -> None:
    async with aiohttp.ClientSession() as session:
        assert session._retry_connection is True
        disable_retries(session)
        assert session._retry_connection is False
