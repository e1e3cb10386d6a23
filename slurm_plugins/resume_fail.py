"""ResumeFailProgram: tells the gateway that nodes did not come up within ResumeTimeout.

Invariant: returns at once, whether or not the gateway runs (see ``spool``).
"""

import sys

from slurm_plugins import spool

if __name__ == "__main__":
    sys.exit(spool.main("resume_fail"))
