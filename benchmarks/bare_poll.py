"""The bare cost of a poll: aiohttp receives the pages of a UMS, pydantic validates every field of every row."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiohttp
from pydantic import BaseModel, TypeAdapter, create_model

_PAGE = 100


def _model(row: dict[str, Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (type(value) | None, None) for name, value in row.items() if value is not None}
    page = {"code": (int, ...), "status": (str, ...), "meta": (dict[str, Any], ...)}
    return create_model("Page", **page, devices=(list[create_model("Row", **fields)], ...))  # type: ignore[no-any-return, call-overload, misc]


async def _main(url: str, every: float) -> None:
    adapter: TypeAdapter[Any] | None = None
    async with aiohttp.ClientSession() as session:
        while True:
            offset, total = 0, 1
            while offset < total:
                query = {"limit": str(_PAGE), "offset": str(offset), "show_group_info": "true"}
                async with session.get(f"{url}/s1/device", params=query) as response:
                    data = await response.read()
                if adapter is None:
                    adapter = TypeAdapter(_model(json.loads(data)["devices"][0]))
                page = adapter.validate_json(data)
                offset, total = offset + len(page.devices), page.meta["totalResults"]
            await asyncio.sleep(every)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], float(sys.argv[2])))
