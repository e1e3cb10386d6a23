"""Cheque, first form: the most that the owner is ready to spend, against what a job may cost.

Invariant: nothing is held that exceeds what was signed.
"""

from __future__ import annotations

from gateway.accounting.units import format_credits
from gateway.errors import Refused


def check(total_ucr: int, *, signed_ucr: int | None = None, asked_ucr: int | None = None) -> None:
    """Raise Refused when ``total_ucr`` is more than either limit.

    ``signed_ucr`` is the ``max`` of the signed request, ``asked_ucr`` the script's ``--max-cost``; None is no limit.
    """
    limits = [limit for limit in (signed_ucr, asked_ucr) if limit is not None]
    if limits and total_ucr > (most := min(limits)):
        raise Refused(
            f"The job may cost {format_credits(total_ucr)}; the most that was allowed is {format_credits(most)}.",
            hint="shorten --time, ask for less, or allow more with --max-cost",
        )
