"""Which jobs a ``--dependency`` names.

Invariant: pure; what sbatch would refuse names no job here and is refused by Slurm itself.
"""

from __future__ import annotations

import re

_ID = r"\d+(?:_\d+|\+\d+)*"
_CLAUSE = re.compile(rf"(?:after(?:any|ok|notok|corr|burstbuffer)?:)?(?P<ids>{_ID}(?::{_ID})*)")


def named(dependency: str) -> tuple[int, ...]:
    """Job ids of ``afterok:1:2,afterany:3_4?after:5+10`` (sbatch(1), --dependency), in order, without repeats.

    >>> named("afterok:12:13,singleton")
    (12, 13)
    """
    clauses = (_CLAUSE.fullmatch(clause.strip()) for clause in re.split(r"[,?]", dependency))
    ids = (int(re.split(r"[_+]", item)[0]) for clause in clauses if clause for item in clause["ids"].split(":"))
    return tuple(dict.fromkeys(ids))
