"""Slurm tokens are worth what their session is worth, for looking, at this gateway, until they expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.errors import BadSignature, SignatureExpired
from gateway.identity.key_ring import KeyRing
from gateway.identity.slurm_token import SlurmTokens

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def tokens(tmp_path: Path) -> SlurmTokens:
    """Of one gateway."""
    return SlurmTokens(KeyRing.open(tmp_path / "keys.json", NOW), "http://gateway", "burst/one")


def test_a_token_names_its_session(tokens: SlurmTokens) -> None:
    """Given a token, when it is read in time, then it names the session that asked for it."""
    assert tokens.session_of(tokens.mint("ada", "s-1", NOW, LATER), NOW) == "s-1"


def test_a_token_expires(tokens: SlurmTokens) -> None:
    """Given a token, when its time is over, then it is refused."""
    with pytest.raises(SignatureExpired):
        tokens.session_of(tokens.mint("ada", "s-1", NOW, LATER), LATER)


def test_a_token_of_another_gateway_is_refused(tokens: SlurmTokens) -> None:
    """Given a token for another audience, or altered, when it is read, then it is refused."""
    other = SlurmTokens(tokens.ring, tokens.issuer, "burst/two")
    token = tokens.mint("ada", "s-1", NOW, LATER)

    with pytest.raises(BadSignature):
        other.session_of(token, NOW)
    head, body, signature = token.split(".")
    with pytest.raises(BadSignature):
        tokens.session_of(f"{head}.{body}x.{signature}", NOW)
