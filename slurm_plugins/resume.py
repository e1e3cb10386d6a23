"""ResumeProgram: asks the gateway for nodes; their names are all that Slurm needs to give.

Invariant: returns at once, whether or not the gateway runs (see ``spool``).
"""

import sys

from slurm_plugins import spool

if __name__ == "__main__":
    sys.exit(spool.main("resume"))
