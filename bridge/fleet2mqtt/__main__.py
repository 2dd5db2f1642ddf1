"""`python -m fleet2mqtt`: the command line."""

from __future__ import annotations

import sys

from fleet2mqtt.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
