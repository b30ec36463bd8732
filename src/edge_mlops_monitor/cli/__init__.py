"""The command line: one short function for each command, imported when it is called for.

Exit status: 0 fine, 1 failed, 2 wrong usage or config, 3 drift found where `--exit-code` asked for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. What is wrong is one sentence on standard error."""
    from edge_mlops_monitor.cli.application import application
    from edge_mlops_monitor.cli.mistakes import explained
    from edge_mlops_monitor.cli.output import plain

    try:
        found = application.main(args=arguments, prog_name="edge-mlops-monitor", standalone_mode=False)
        sys.stdout.flush()
        return found if isinstance(found, int) else 0
    except BrokenPipeError:
        # Whoever read us (head, less) has seen enough; nothing may be flushed to them at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("EDGE_MLOPS_MONITOR_TRACEBACK"):
            raise
        sentence, status = explained(error)
        print(plain(f"edge-mlops-monitor: {sentence}"), file=sys.stderr)
        return status
