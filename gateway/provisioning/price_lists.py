"""Price lists: what a reader of one cloud's published prices is given, and what it gives back.

Invariant: a reader takes what it was asked for and nothing else; a price that it does not understand is left out, so
that it stays unknown.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from gateway.errors import CloudInvalid
from gateway.node_types import CloudSizeSettings
from gateway.provisioning.node import Market
from gateway.provisioning.price_book import EgressPrice, MachinePrice

PIECE: Final = 65536
Path = tuple[str, ...]


@dataclass(frozen=True)
class Rate:
    """A price of an hour or of a GB, as a list has it."""

    price: Decimal
    currency: str
    source: str
    as_of: datetime


@dataclass(frozen=True)
class Wanted:
    """Prices of which sizes are wanted, of which cloud and region."""

    cloud: str
    region: str
    sizes: Mapping[str, CloudSizeSettings]

    def machine(self, size: str, market: Market, rate: Rate, zone: str = "") -> MachinePrice:
        """A line of the book."""
        return MachinePrice(self.cloud, self.region, size, market, **vars(rate), zone=zone)

    def egress(self, rate: Rate) -> EgressPrice:
        """A line of the book."""
        return EgressPrice(self.cloud, self.region, **vars(rate))


def amount(text: object) -> Decimal:
    """An exact amount; 0, which is no price, for what is none."""
    try:
        found = Decimal(str(text))
    except InvalidOperation:
        return Decimal(0)
    return found if found.is_finite() and found > 0 else Decimal(0)


def moment(text: object) -> datetime:
    """A time of ISO 8601, in UTC where it names no zone. Raises CloudInvalid."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        raise CloudInvalid(f"the price list has {str(text)[:40]!r} where a date should be") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def members(pieces: Iterable[bytes], opened: Collection[Path]) -> Iterator[tuple[Path, Any]]:
    """The members of a JSON object that may be too large for memory, each with its path.

    Objects whose path is in ``opened`` are gone through member by member; all others come whole. Raises CloudInvalid.
    """
    try:
        yield from _members(_Text(iter(pieces)), (), opened)
    except (ValueError, StopIteration, UnicodeDecodeError) as error:
        raise CloudInvalid(f"the price list is no JSON: {error}") from None


def _members(text: _Text, path: Path, opened: Collection[Path]) -> Iterator[tuple[Path, Any]]:
    text.take("{")
    if text.peek() == "}":
        text.take("}")
        return
    while True:
        here = (*path, str(text.value()))
        text.take(":")
        if here in opened and text.peek() == "{":
            yield from _members(text, here, opened)
        else:
            yield here, text.value()
        if text.peek() == "}":
            text.take("}")
            return
        text.take(",")


class _Text:
    """JSON text that arrives in pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._decoder = json.JSONDecoder()
        self._rest = ""
        self._at = 0
        self._cut = b""

    def peek(self) -> str:
        """The next character that is no blank. Raises ValueError at the end."""
        while True:
            while self._at < len(self._rest):
                if not self._rest[self._at].isspace():
                    return self._rest[self._at]
                self._at += 1
            if not self._more():
                raise ValueError("it ends too early")

    def take(self, character: str) -> None:
        """Go past this character. Raises ValueError if another is next."""
        if (found := self.peek()) != character:
            raise ValueError(f"{found!r} where {character!r} should be")
        self._at += 1

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._rest, self._at)
            except ValueError:
                if not self._more():
                    raise
                continue
            if end < len(self._rest) or not self._more():  # a number may go on in the next piece
                self._at = end
                return value

    def _more(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        whole = self._cut + piece
        # A piece may end within a character.
        end = len(whole) - next((n for n in (1, 2, 3) if len(whole) >= n and whole[-n] >= 0xC0), 0)  # noqa: PLR2004
        self._rest, self._at, self._cut = self._rest[self._at :] + whole[:end].decode(), 0, whole[end:]
        return True
