"""Build hook that makes the README fit for PyPI, where links relative to the repository lead nowhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY = "https://github.com/fleet2mqtt/fleet2mqtt"
_RELATIVE = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?!https?:|#|mailto:)([^)\s]+)\)")


def with_absolute_links(markdown: str, version: str) -> str:
    """Return a text whose relative links lead to the files of a version's tag."""

    def absolute(match: re.Match[str]) -> str:
        image, text, target = match.groups()
        inner = _RELATIVE.sub(absolute, text)
        return f"{image}[{inner}]({REPOSITORY}/{'raw' if image else 'blob'}/v{version}/{target})"

    return _RELATIVE.sub(absolute, markdown)


class ReadmeHook(MetadataHookInterface):
    """Adds the field `readme` to the project's metadata."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README with absolute links."""
        text = Path(self.root, "README.md").read_text("utf-8")
        content = with_absolute_links(text, metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": content}
