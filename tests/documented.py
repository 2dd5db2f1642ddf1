"""Commands of the documentation, for the tests that run them.

test_docs.py holds that every block of commands is asked for here by a test, or is in NOT_RUN with the reason.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_RUN = {
    ("README.md", "./scripts/demo"): "scripts/try_demo.py runs the first in .ci/run, the second is this test run",
    ("docs/install.md", "docker compose -f"): "no registry is reachable: test_image.py runs what compose.yaml says",
    ("docs/install.md", "docker build -f"): "as above; test_image.py compares its options with those of compose.yaml",
}
"""By page and first words: blocks that no test runs as they are."""

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def blocks(text: str) -> list[tuple[str, str]]:
    """Return language and content of the fenced blocks of a page, those within lists too."""
    return [(language, textwrap.dedent(content)) for _, language, content in _FENCE.findall(text)]


def shell_blocks(page: str) -> list[str]:
    """Return the blocks of commands of a page, named relative to the repository."""
    text = (ROOT / page).read_text("utf-8")
    return [content for language, content in blocks(text) if language in {"bash", "console", "sh", "shell"}]


def commands(page: str, first_words: str) -> str:
    """Return the one block of commands of a page that begins so."""
    (found,) = [block for block in shell_blocks(page) if block.startswith(first_words)]
    return found
