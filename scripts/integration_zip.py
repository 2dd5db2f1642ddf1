"""Write the integration as the archive that HACS downloads from a release: integration_zip.py dist/fleet2mqtt.zip.

HACS unpacks it into custom_components/fleet2mqtt, so the files are at its root. The same files give the same archive.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "custom_components/fleet2mqtt"


def main(target: Path) -> None:
    """Write the archive."""
    files = sorted(path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.writestr(
                zipfile.ZipInfo(path.relative_to(SOURCE).as_posix()), path.read_bytes(), zipfile.ZIP_DEFLATED
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
