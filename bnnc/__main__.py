"""``python -m bnnc``: the command line."""

from __future__ import annotations

import sys

from bnnc.cli.main import main

sys.exit(main())
