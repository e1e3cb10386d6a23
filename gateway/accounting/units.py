"""Money: integer micro-credits inside, credits as decimal text outside.

Invariant: no float ever holds an amount; what cannot be said exactly in micro-credits is refused.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from gateway.errors import InvalidRequest

CREDIT_UCR: Final = 1_000_000
"""Micro-credits in a credit."""

MAX_UCR: Final = 10**15
"""A thousand million credits: the most that one amount may be, far inside 64 bit."""

_AMOUNT = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")


def parse_credits(text: str) -> int:
    """Micro-credits of an amount such as "2.5". Raises InvalidRequest for anything that is not one, to six decimals."""
    if not _AMOUNT.fullmatch(text):
        raise InvalidRequest(
            f"{text!r} is not an amount of credits.", hint="give one such as 2.5, six decimals at most"
        )
    amount = int(Decimal(text) * CREDIT_UCR)
    if amount > MAX_UCR:
        raise InvalidRequest(f"{text} credits are too many.", hint=f"at most {format_credits(MAX_UCR)}")
    return amount


def format_credits(amount_ucr: int) -> str:
    """An amount for people, exact: 2_500_000 is "2.5 credits", 1_000_000 "1 credit"."""
    whole, rest = divmod(abs(amount_ucr), CREDIT_UCR)
    decimals = f".{rest:06d}".rstrip("0") if rest else ""
    unit = "credit" if abs(amount_ucr) == CREDIT_UCR else "credits"
    return f"{'-' if amount_ucr < 0 else ''}{whole}{decimals} {unit}"
