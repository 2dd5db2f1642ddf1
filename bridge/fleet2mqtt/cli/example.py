"""`fleet2mqtt example`: a commented configuration for one platform, or with every option."""

from __future__ import annotations

import argparse

from fleet2mqtt.cli.process import OK, print_line
from fleet2mqtt.config import example_file


def run(options: argparse.Namespace) -> int:
    """Print the example."""
    text = example_file.text() if options.platform is None else example_file.for_platform(options.platform)
    print_line(text.removesuffix("\n"))
    return OK
