"""The `labctl` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from labctl.cli.app import run_cli  # noqa: PLC0415 - worker processes import this module and need no command line

    sys.exit(run_cli())


if __name__ == "__main__":
    main()
