"""Secrets at rest."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.errors import SetupError
from gateway.identity.sealing import Sealer, make_sealing_key

SEALER = Sealer(make_sealing_key())


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_is_sealed_opens_for_its_purpose(secret, purpose):
    """The same bytes come back, and none of a longer secret can be read in between."""
    sealed = SEALER.seal(secret, purpose)
    assert SEALER.open(sealed, purpose) == secret
    assert SEALER.seal(secret, purpose) != sealed


SEALED = SEALER.seal(b"the secret", "test")


@given(st.integers(0, len(SEALED) - 1), st.sampled_from("ABCDabcd0123-_=! "))
def test_one_changed_letter_and_it_does_not_open(at, letter):
    """Whichever letter it is, and one that is no base64 too."""
    assume(SEALED[at] != letter)
    with pytest.raises(SetupError):
        SEALER.open(SEALED[:at] + letter + SEALED[at + 1 :], "test")


def test_another_purpose_or_key_does_not_open_it():
    """A text moved from one column to another, or to another gateway, is of no use there."""
    sealed = SEALER.seal(b"the secret", "totp of ada")
    with pytest.raises(SetupError, match="totp of eve"):
        SEALER.open(sealed, "totp of eve")
    with pytest.raises(SetupError):
        Sealer(make_sealing_key()).open(sealed, "totp of ada")


def test_a_key_is_32_bytes_and_is_not_shown():
    """A short key is refused; its repr has none of it."""
    with pytest.raises(SetupError):
        Sealer(b"short")
    assert SEALER.key.hex() not in repr(SEALER)
    assert repr(SEALER.key) not in repr(SEALER)
