"""Browsers' sign-ins: how long, how fresh, and whose forms are taken."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import Refused, SignatureExpired
from gateway.identity.browsers import FRESH, Browser, check_form, cookie_hash, form_token, make_cookie

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BROWSER = Browser(cookie_hash("c"), "ada", "192.0.2.7", "Firefox", NOW, NOW + timedelta(hours=12))


def test_a_sign_in_ends_with_its_time_or_by_sign_out():
    """Not a second later."""
    BROWSER.check(NOW + timedelta(hours=11, minutes=59))
    for ended in (BROWSER, replace(BROWSER, ended_at=NOW)):
        with pytest.raises(SignatureExpired):
            ended.check(NOW + timedelta(hours=12))


def test_a_password_is_fresh_for_ten_minutes():
    """After that the browser may look, but approves nothing."""
    assert BROWSER.fresh(NOW + FRESH - timedelta(seconds=1))
    assert not BROWSER.fresh(NOW + FRESH)


def test_a_form_belongs_to_one_cookie():
    """Its token is the cookie's and no other's; without a cookie no token is right."""
    cookie = make_cookie()
    check_form(cookie, form_token(cookie))
    for given, token in (
        (cookie, form_token(make_cookie())),
        (cookie, ""),
        (cookie, None),
        (None, form_token("")),
        (None, None),
        (cookie, "\u00e9"),
    ):
        with pytest.raises(Refused):
            check_form(given, token)
