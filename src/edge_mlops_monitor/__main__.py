"""`python -m edge_mlops_monitor` is the command `edge-mlops-monitor`."""

from __future__ import annotations

import sys

from edge_mlops_monitor.cli import main

if __name__ == "__main__":
    sys.exit(main())
