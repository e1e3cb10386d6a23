"""Our block in a site's slurm.conf: put at its end, taken out again; pure bytes in, pure bytes out.

Invariant: what ``extended`` adds is one block between two markers, and ``restored`` gives back the bytes of before,
and leaves alone whatever else was changed meanwhile.
"""

from __future__ import annotations

import re

BURST_CONF = "burst.conf"
JOB_SUBMIT = "job_submit.lua"
SITE_JOB_SUBMIT = "job_submit.site.lua"
"""Where a site's own job_submit.lua lies while ours stands in its place and calls it."""
CLI_FILTER = "cli_filter.lua"
OURS = "written by burst site install"
"""Stands in the first line of every file that is ours."""

_BEGIN = b"# >>> burst gateway (burst site remove takes these lines out) >>>"
_END = b"# <<< burst gateway <<<\n"
_BLOCK = re.compile(rb"(?P<own>\n?)" + re.escape(_BEGIN) + rb"(?P<added> \+)?\n.*?" + re.escape(_END), re.DOTALL)


def has_block(text: bytes) -> bool:
    """Whether our block is in it."""
    return _BLOCK.search(text) is not None


def extended(before: bytes) -> bytes:
    """slurm.conf with our block at its end; one that has it stays as it is.

    Comes from ``before`` by adding only; a newline that was missing is noted in the marker.
    """
    if has_block(before):
        return before
    added = b"" if before.endswith(b"\n") or not before else b"\n"
    mark = _BEGIN + (b" +" if added else b"") + b"\n"
    return before + added + mark + f"Include {BURST_CONF}\n".encode() + _END


def restored(text: bytes) -> bytes:
    """slurm.conf without our block, byte for byte as it was; what the site changed meanwhile around it stays.

    The newline that we added stays too where the site has written on after the block: its lines are not to be glued.
    """
    return _BLOCK.sub(lambda found: b"" if found["added"] and found.end() == len(text) else found["own"], text)
