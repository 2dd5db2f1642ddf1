"""Memory of the process: what is set for the interpreter and the C library."""

from __future__ import annotations

import platform
import sys

from tests.process import ran


async def test_garbage_is_collected_less_often_and_freed_memory_returned_where_glibc_is() -> None:
    program = "import gc; from fleet2mqtt.cli.memory import tune_memory; print(tune_memory(), gc.get_threshold()[0])"
    ended = await ran(sys.executable, "-c", program)
    assert ended.output.split() == [str(platform.libc_ver()[0] == "glibc"), "50000"], ended.errors
