"""The bridge whose units fail to apply a configuration with `commands.confirm_timeout: 9`, and else as it is.

    python tests/cluster/failing_reload.py run -c fleet2mqtt.yaml

So a node fails to reload a file that it has found to be right.
"""

import sys

from fleet2mqtt.cli.parser import main
from fleet2mqtt.config.models import Config
from fleet2mqtt.errors import CommandError
from fleet2mqtt.node import Node

apply = Node._use_config  # noqa: SLF001 - there is no other way to have it fail

CONFIRM_TIMEOUT = 9.0


def fail(self: Node, config: Config) -> None:
    """Use a configuration, or raise CommandError."""
    if config.commands.confirm_timeout == CONFIRM_TIMEOUT:
        raise CommandError("out_of_order", "this node applies no such file")
    apply(self, config)


if __name__ == "__main__":
    Node._use_config = fail  # type: ignore[method-assign]  # noqa: SLF001
    sys.exit(main())
