"""`python -m refloss` is the command `refloss`."""

from __future__ import annotations

import sys

from refloss.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
