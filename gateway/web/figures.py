"""Figures: times, lengths of time, sizes and money as the pages write them.

Invariant: a page that is drawn again without news is the same text, so nothing here knows the present time; the
browser adds that (static/burst.js).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

from gateway.accounting.units import CREDIT_UCR

_KIBI: Final = 1024
_TENTHS_BELOW_S: Final = 9.95
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def moment(when: datetime | None) -> Markup:
    """A point in time: UTC for a reader without script, the reader's own clock with it."""
    if when is None:
        return Markup("")
    utc = when.astimezone(UTC)
    text = Markup('<time datetime="{}">{} UTC</time>')
    return text.format(utc.isoformat(timespec="milliseconds"), f"{utc:%Y-%m-%d %H:%M:%S}")


def elapsed(since: datetime | None) -> Markup:
    """How long ago something began; the browser counts on."""
    if since is None:
        return Markup("")
    text = Markup('<span class="elapsed" data-since="{}">since {} UTC</span>')
    utc = since.astimezone(UTC)
    return text.format(utc.isoformat(timespec="milliseconds"), f"{utc:%H:%M:%S}")


def duration(seconds: float) -> str:
    """A length of time: "0.4 s", "12 s", "3 min 20 s", "2 h 05 min", "3 d 4 h"."""
    seconds = max(0.0, seconds)
    if seconds < _TENTHS_BELOW_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02d} s"
    minutes = whole // _MINUTE_S % 60
    return (
        f"{whole // _DAY_S} d {whole // _HOUR_S % 24} h"
        if whole >= _DAY_S
        else f"{whole // _HOUR_S} h {minutes:02d} min"
    )


def between(start: datetime | None, end: datetime | None) -> str:
    """The time from one point to the other; "" while one of them is not known."""
    return duration((end - start).total_seconds()) if start and end else ""


def in_credits(amount_ucr: int) -> str:
    """An amount in credits with at least two decimals: "0.10", "1,234.567"."""
    whole, rest = divmod(abs(amount_ucr), CREDIT_UCR)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    sign = "\N{MINUS SIGN}" if amount_ucr < 0 else ""
    return f"{sign}{whole:,}.{decimals}"


def size(count: int) -> str:
    """Bytes, powers of 1024: "512 B", "1.5 KiB", "20.0 GiB"."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < _KIBI:
            break
        amount, unit = amount / _KIBI, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def commands(sentence: str) -> Markup:
    """A sentence whose commands stand between backticks, with these set as code."""
    parts = [escape(text) for text in sentence.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(text) if n % 2 else text for n, text in enumerate(parts))


FILTERS: Final = {
    "commands": commands,
    "moment": moment,
    "elapsed": elapsed,
    "duration": duration,
    "credits": in_credits,
    "size": size,
}
