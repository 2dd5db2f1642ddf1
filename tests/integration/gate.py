"""Coverage of the integration by module: `gate.py REPORT.json` lists those below their bound and ends with 1.

The config flow is covered whole, every other module to 95 %: the quality scale asks for both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

LEAST = 95.0
WHOLE = "config_flow.py"


def short(report: Path) -> list[str]:
    """The modules below their mark."""
    files = json.loads(report.read_text())["files"]
    shares = {name: each["summary"]["percent_covered"] for name, each in files.items()}
    if not any(name.endswith(WHOLE) for name in shares):
        return [f"{report}: the config flow was not measured"]
    marks = {name: 100.0 if name.endswith(WHOLE) else LEAST for name in shares}
    return [f"{name}: {share:.1f} % of {marks[name]:g} %" for name, share in shares.items() if share < marks[name]]


if __name__ == "__main__":
    found = short(Path(sys.argv[1]))
    print("\n".join(found) or "every module of the integration is covered")  # noqa: T201 - a program
    sys.exit(bool(found))
