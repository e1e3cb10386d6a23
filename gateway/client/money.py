"""Credits as people write them, and micro-credits as the gateway counts them.

Invariant: no float touches an amount; what is shown is exact to the last micro-credit.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from gateway.errors import OptionError

_CREDIT_UCR = 1_000_000
_LARGEST_UCR = 2**63
"""What a ledger row holds."""


def in_credits(amount_ucr: int) -> str:
    """An amount for people: ``in_credits(1_234_567)`` is "1.234567 cr"."""
    whole, rest = divmod(abs(amount_ucr), _CREDIT_UCR)
    return f"{'-' if amount_ucr < 0 else ''}{whole}.{rest:06d} cr"


def from_credits(text: str) -> int:
    """Micro-credits of an amount such as "2.5". Raises OptionError for anything but a positive exact amount."""
    try:
        amount = Decimal(text.removesuffix("cr").strip()) * _CREDIT_UCR
        exact = int(amount)
    except (InvalidOperation, ValueError, OverflowError):
        exact, amount = 0, Decimal(0)
    if not 0 < exact < _LARGEST_UCR or exact != amount:
        raise OptionError(f"{text!r} is not an amount of credits", hint="give one such as 2.5, six decimals at most")
    return exact
