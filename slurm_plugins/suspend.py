"""SuspendProgram: tells the gateway that idle nodes are no longer wanted.

Invariant: returns at once, whether or not the gateway runs (see ``spool``).
"""

import sys

from slurm_plugins import spool

if __name__ == "__main__":
    sys.exit(spool.main("suspend"))
