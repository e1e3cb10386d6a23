"""A sealing key's rotation, as far as one sealed text goes."""

from __future__ import annotations

import pytest

from gateway.errors import SetupError
from gateway.identity.sealing import Sealer, key_id, make_sealing_key

OLD, NEW = make_sealing_key(), make_sealing_key()


def test_older_keys_open_and_do_not_seal():
    """The first of the keys seals; each text says which one it needs, and nothing about it."""
    old = Sealer(OLD).seal(b"the secret", "test")
    both = Sealer(NEW, OLD)

    assert both.open(old, "test") == b"the secret"
    assert Sealer(NEW).open(both.seal(b"x", "test"), "test") == b"x"
    assert old.split(":")[1] == key_id(OLD)
    assert key_id(OLD) not in OLD.hex()


def test_a_text_is_sealed_anew_for_its_own_purpose():
    """Who reseals needs to know no purpose; the old key opens it no more, and a second time changes nothing."""
    old = Sealer(OLD).seal(b"the secret", "totp of ada, ü:")
    new = Sealer(NEW, OLD).reseal(old)

    assert Sealer(NEW).open(new, "totp of ada, ü:") == b"the secret"
    assert Sealer(NEW).reseal(new) == new
    with pytest.raises(SetupError, match=key_id(NEW)):
        Sealer(OLD).open(new, "totp of ada, ü:")


def test_an_altered_text_is_not_sealed_anew():
    """It would look genuine afterwards."""
    mark, kid, purpose, text = Sealer(OLD).seal(b"the secret", "test").split(":")
    others = [f"{mark}:{kid}:{purpose}:{text[:-6]}AAAA{text[-2:]}", f"{mark}:{kid}:dGVzVA==:{text}", f"{mark}:{kid}"]
    for other in (*others, "plain"):
        with pytest.raises(SetupError):
            Sealer(NEW, OLD).reseal(other)


def test_keys_are_asked_for_each_time():
    """A rotation needs no new sealer."""
    keys = [OLD]
    sealer = Sealer.of(lambda: tuple(keys))
    old = sealer.seal(b"x", "test")
    keys.insert(0, NEW)

    assert sealer.open(old, "test") == b"x"
    assert Sealer(NEW).open(sealer.seal(b"y", "test"), "test") == b"y"
    assert NEW.hex() not in repr(sealer)
