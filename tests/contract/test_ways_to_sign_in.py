"""Passkeys and institutions behind the pages: real databases, a device in software, an issuer over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import RSAKey
from openid_issuer import Issuer, serving
from soft_passkey import ORIGIN, SoftPasskey

from gateway.accounting.ledger import AccountKind
from gateway.errors import Conflict, InstitutionUnavailable, InvalidRequest, NotFound, Refused, SignatureExpired
from gateway.identity.authenticate import Verifier
from gateway.identity.browsers import FRESH, Browser, make_cookie
from gateway.identity.credentials import Credentials
from gateway.identity.institutions import Institution
from gateway.identity.key_ring import KeyRing
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.openid_provider import OpenIdProvider
from gateway.identity.passkeys import LIFETIME, RelyingParty
from gateway.identity.sealing import Sealer
from gateway.identity.users import Role, User
from gateway.service.browsers import BrowserService
from gateway.service.institutions import InstitutionService
from gateway.service.passkeys import PasskeyService
from gateway.service.people import PeopleService
from gateway.storage.work import SqlWork

FROM = {"address": "192.0.2.7", "agent": "Firefox"}


@dataclass
class Ways:
    """The services on one database, and a clock that the test moves."""

    people: PeopleService
    now: list[datetime] = field(default_factory=lambda: [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)])

    @property
    def browsers(self) -> BrowserService:
        return BrowserService(self.people)

    @property
    def passkeys(self) -> PasskeyService:
        return PasskeyService(self.people, self.browsers, RelyingParty.of(ORIGIN, "Burst"))

    def later(self, span: timedelta) -> None:
        """Let time pass."""
        self.now[0] += span

    def signed_in(self, name: str = "ada") -> Browser:
        """A browser of a user's, by a password that was given now."""
        with self.people.reads() as work:
            user = work.users.get(name)
        return self.browsers.admit(user, None, **FROM)[1]

    def told(self, query: str = "SELECT actor, action, outcome FROM audit_records ORDER BY seq") -> list[Any]:
        """The audit log."""
        with self.people.reads() as work:
            return [tuple(row) for row in work.audit._connection.exec_driver_sql(query)]


@pytest.fixture
def ways(database, tmp_path) -> Ways:
    """With the users ada and bob."""

    @contextmanager
    def works() -> Iterator[SqlWork]:
        with database.begin() as connection:
            yield SqlWork(connection)

    now = [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)]
    ring = KeyRing.open(tmp_path / "keys.json", now[0])
    credentials = Credentials(ring, ORIGIN, "burst/test")
    lifetime = timedelta(hours=12)
    people = PeopleService(
        works, works, ring, Verifier("burst/test", 60), credentials, ORIGIN, lifetime, lambda: now[0], Sealer(bytes(32))
    )
    with works() as work:
        for name in ("ada", "bob"):
            work.ledger.open_account(name, AccountKind.USER)
            work.users.add(User(name, Role.USER, name), "hash", now[0])
    return Ways(people, now)


@pytest.fixture
def device(ways) -> SoftPasskey:
    """A device with a passkey of ada's."""
    device, browser = SoftPasskey(), ways.signed_in()
    ways.passkeys.add(browser, " my   laptop ", device.make(ways.passkeys.ask_to_add(browser)), "192.0.2.7")
    return device


def test_a_passkey_signs_in_once_a_challenge(ways, device):
    """Its browser is its user's, fresh, with a certified key; the same answer again is to no challenge."""
    cookie, key = make_cookie(), public_jwk(make_key())
    answer = device.use(ways.passkeys.ask_to_sign_in(cookie, "192.0.2.7"))

    _, browser = ways.passkeys.sign_in(cookie, answer, key, **FROM)

    assert (browser.user, browser.amr, browser.fresh(ways.now[0])) == ("ada", "pop mfa", True)
    assert browser.session is not None
    (kept,) = ways.passkeys.of("ada")
    assert (kept.name, kept.sign_count, kept.used_at) == ("my laptop", 1, ways.now[0])
    with pytest.raises(NotFound):
        ways.passkeys.sign_in(cookie, answer, key, **FROM)


def test_a_wrong_answer_uses_the_challenge_up(ways, device):
    """So nobody tries twice; nor does another browser's challenge do, nor one of five minutes ago."""
    cookie = make_cookie()
    good = device.use(ways.passkeys.ask_to_sign_in(cookie, "192.0.2.7"))
    with pytest.raises(Refused):
        ways.passkeys.sign_in(
            cookie, replace(device, origin="https://evil.example").use({"challenge": "AAAA"}), None, **FROM
        )
    with pytest.raises(NotFound):
        ways.passkeys.sign_in(cookie, good, None, **FROM)
    with pytest.raises(NotFound):
        ways.passkeys.sign_in(make_cookie(), good, None, **FROM)

    late = device.use(ways.passkeys.ask_to_sign_in(cookie, "192.0.2.7"))
    ways.later(LIFETIME)
    with pytest.raises(Refused, match="too long ago"):
        ways.passkeys.sign_in(cookie, late, None, **FROM)


def test_a_count_that_went_back_is_an_alarm(ways, device):
    """The alarm is kept although the sign-in is refused; the owner's own device still signs in."""
    copy = replace(device)
    for each, good in ((device, True), (device, True), (copy, False), (device, True)):
        cookie = make_cookie()
        answer = each.use(ways.passkeys.ask_to_sign_in(cookie, "192.0.2.7"))
        if good:
            ways.passkeys.sign_in(cookie, answer, None, **FROM)
        else:
            with pytest.raises(Refused, match="not known here"):
                ways.passkeys.sign_in(cookie, answer, None, **FROM)
    assert ways.told().count(("ada", "sign-in", "alarm")) == 1


def test_ways_to_sign_in_change_only_after_a_fresh_proof(ways, device):
    """Ten minutes after the password nothing is added or removed."""
    browser = ways.signed_in()
    asked = ways.passkeys.ask_to_add(browser)
    (kept,) = ways.passkeys.of("ada")
    ways.later(FRESH)
    for change in (
        lambda: ways.passkeys.ask_to_add(browser),
        lambda: ways.passkeys.add(browser, "late", SoftPasskey().make(asked), "192.0.2.7"),
        lambda: ways.passkeys.remove(browser, kept.id, "192.0.2.7"),
    ):
        with pytest.raises(Refused, match="too long ago"):
            change()
    assert ways.passkeys.of("ada") == (kept,)


def test_a_passkey_is_one_users(ways, device):
    """Known once; another user neither renames nor removes it; a name is a name."""
    bob = ways.signed_in("bob")
    with pytest.raises(Conflict):
        ways.passkeys.add(bob, "copy", device.make(ways.passkeys.ask_to_add(bob)), "192.0.2.7")
    (kept,) = ways.passkeys.of("ada")
    with pytest.raises(NotFound):
        ways.passkeys.rename(bob, kept.id, "mine", "192.0.2.7")
    with pytest.raises(NotFound):
        ways.passkeys.remove(bob, kept.id, "192.0.2.7")
    for name in ("", "   ", "x" * 65, "a\x00b"):
        with pytest.raises(InvalidRequest):
            ways.passkeys.rename(ways.signed_in(), kept.id, name, "192.0.2.7")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """A running issuer."""
    with serving(Issuer()) as running:
        yield running


@dataclass
class AtLab:
    """Sign-ins through the issuer, which says ``claims`` of whoever comes."""

    ways: Ways
    issuer: Issuer
    service: InstitutionService

    @classmethod
    def of(cls, ways: Ways, issuer: Issuer, **rule: Any) -> AtLab:
        lab = Institution("lab", "Example Lab", issuer.url, "burst", lambda: "s+ cret", **rule)
        return cls(ways, issuer, InstitutionService(ways.people, ways.browsers, {"lab": OpenIdProvider(lab)}))

    def come(self, linked_by: Browser | None = None, wait: timedelta = timedelta(0), **claims: Any) -> str:
        """Go there and back; the user who is signed in then ("" after a link). ``claims`` replace good ones."""
        cookie, url = self.service.begin("lab", "/web/jobs", "192.0.2.7", linked_by=linked_by)
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        at = int(self.ways.now[0].timestamp())
        good = {"iss": self.issuer.url, "sub": "maria", "aud": "burst", "nonce": asked["nonce"], "auth_time": at}
        good |= {"iat": at, "exp": at + 300, "preferred_username": "maria"}
        self.issuer.claims = {**good, **claims}
        self.ways.later(wait)
        answer = {"code": "one", "state": asked["state"]}
        arrived = self.service.arrive("lab", cookie, answer, **FROM)
        return self.ways.browsers.visit(arrived.cookie).browser.user if arrived.cookie else ""


def test_a_linked_person_is_found_by_issuer_and_subject(ways, issuer):
    """Whatever else the institution says of them; PKCE's verifier goes to the token endpoint."""
    lab = AtLab.of(ways, issuer)
    assert lab.come(linked_by=ways.signed_in()) == ""
    assert lab.come(preferred_username="bob", email="bob@lab.example") == "ada"
    assert all(len(form["code_verifier"]) == 64 for form in issuer.asked)
    with pytest.raises(Refused, match="not linked to a user here"):
        lab.come(sub="another", preferred_username="ada", email="ada@lab.example", email_verified=True)
    assert ("institution:lab", "sign-in", "refused") in ways.told()


@pytest.mark.parametrize(
    ("words", "claims"),
    [
        ("for somebody else", {"aud": "another-client"}),
        ("another issuer", {"iss": "https://evil.example"}),
        ("expired", {"exp": 1}),
        ("not an answer to this sign-in", {"nonce": "another"}),
    ],
)
def test_w19_a_token_that_is_not_for_this_sign_in_signs_nobody_in(ways, issuer, words, claims):
    """Well signed by the institution's own key, over real HTTP; each refusal says why and is told."""
    lab = AtLab.of(ways, issuer)
    lab.come(linked_by=ways.signed_in())
    with pytest.raises(Refused, match=words):
        lab.come(**claims)
    assert ways.told()[-1] == ("institution:lab", "sign-in", "refused")


def test_an_account_is_linked_by_a_fresh_browser_alone(ways, issuer):
    """One whose password is old begins nothing; one that was ended on the way links nothing."""
    lab = AtLab.of(ways, issuer)
    browser = ways.signed_in()
    ways.later(FRESH / 2)
    with pytest.raises(Refused, match="too long ago"):
        lab.come(linked_by=browser, wait=FRESH / 2)
    with pytest.raises(Refused, match="too long ago"):
        lab.come(linked_by=browser)
    ended = ways.signed_in()
    cookie, url = lab.service.begin("lab", "/web/account", "192.0.2.7", linked_by=ended)
    ways.browsers.sign_out(ended)
    state = parse_qs(urlsplit(url).query)["state"][0]
    nonce = parse_qs(urlsplit(url).query)["nonce"][0]
    at = int(ways.now[0].timestamp())
    issuer.claims = {"iss": issuer.url, "sub": "m", "aud": "burst", "nonce": nonce, "iat": at, "exp": at + 9}
    with pytest.raises(SignatureExpired):
        lab.service.arrive("lab", cookie, {"code": "one", "state": state}, **FROM)
    assert lab.service.of("ada") == ()


def test_a_person_is_one_user_here(ways, issuer):
    """Linked already, to oneself or to another: a conflict; unlinked by its own user alone."""
    lab = AtLab.of(ways, issuer)
    lab.come(linked_by=ways.signed_in())
    for name in ("ada", "bob"):
        with pytest.raises(Conflict):
            lab.come(linked_by=ways.signed_in(name))
    (identity,) = lab.service.of("ada")
    with pytest.raises(NotFound):
        lab.service.unlink(ways.signed_in("bob"), identity.id, "192.0.2.7")
    lab.service.unlink(ways.signed_in(), identity.id, "192.0.2.7")
    with pytest.raises(Refused, match="not linked"):
        lab.come()


def test_users_are_made_where_the_settings_say_so(ways, issuer):
    """With an account and no credit; a name that is taken is nobody's way in, and is told in the same words."""
    lab = AtLab.of(ways, issuer, auto_create=True, subject_pattern=".*")
    assert lab.come() == "maria"
    assert lab.come(preferred_username="other") == "maria"
    with ways.people.reads() as work:
        assert work.users.get("maria").role is Role.USER
        assert work.ledger.balance("maria").available_ucr == 0
    for taken in ({"sub": "x", "preferred_username": "ada"}, {"sub": "y", "preferred_username": "No Name"}):
        with pytest.raises(Refused, match="not linked to a user here"):
            lab.come(**taken)
    (identity,) = lab.service.of("maria")
    with pytest.raises(Conflict, match="made for this account"):
        lab.service.unlink(ways.signed_in("maria"), identity.id, "192.0.2.7")


def test_an_old_proof_at_the_institution_approves_nothing(ways, issuer):
    """Its sign-in may look; only one whose proof there is minutes old is fresh here."""
    lab = AtLab.of(ways, issuer)
    lab.come(linked_by=ways.signed_in())
    at = int(ways.now[0].timestamp())
    for claims, fresh in (({"auth_time": at}, True), ({"auth_time": at - 3600}, False), ({"auth_time": None}, False)):
        lab.come(**claims)
        (newest, *_) = sorted(ways.browsers.all_of(ways.signed_in()), key=lambda each: each.amr != "institution:lab")
        assert newest.fresh(ways.now[0]) is fresh, claims
        ways.browsers.sign_out(newest)


def test_a_new_key_of_the_institution_is_fetched(ways, issuer):
    """Keys are kept for an hour; a token of a key that is not among them asks once more."""
    lab = AtLab.of(ways, issuer)
    lab.come(linked_by=ways.signed_in())
    issuer.key = RSAKey.generate_key(2048, {"kid": "second"}, private=True)
    assert lab.come() == "ada"


def test_an_institution_that_is_not_itself_is_away(ways, issuer):
    """Metadata of another issuer, an endpoint in the clear, a code that it does not take, or no answer at all."""
    for metadata, words in (
        ({"issuer": "https://evil.example"}, "another issuer"),
        ({"authorization_endpoint": "http://id.lab.example/authorize"}, "not https"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "not https"),
    ):
        issuer.metadata = metadata
        with pytest.raises(InstitutionUnavailable, match=words):
            AtLab.of(ways, issuer).come()
    issuer.metadata, issuer.status = {}, 400
    with pytest.raises(Refused, match="does not accept this sign-in's code"):
        AtLab.of(ways, issuer).come()
    issuer.url = "http://127.0.0.1:9"
    with pytest.raises(InstitutionUnavailable, match="does not answer"):
        AtLab.of(ways, issuer).come()


def test_the_secret_goes_as_the_institution_takes_it(ways, issuer):
    """In the form where its metadata says so, and never otherwise."""
    lab = AtLab.of(ways, issuer)
    lab.come(linked_by=ways.signed_in())
    assert "client_secret" not in issuer.asked[-1]
    issuer.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    AtLab.of(ways, issuer).come()
    assert issuer.asked[-1]["client_secret"] == "s+ cret"


def test_what_waits_too_long_is_forgotten(ways, issuer):
    """Challenges and sign-ins that nobody ended; what is good stays."""
    lab = AtLab.of(ways, issuer)
    ways.passkeys.ask_to_sign_in("cookie", "192.0.2.7")
    lab.service.begin("lab", "/web/jobs", "192.0.2.7")
    with ways.people.works() as work:
        assert (work.passkeys.forget(ways.now[0]), work.identities.forget(ways.now[0])) == (0, 0)
        later = ways.now[0] + timedelta(hours=1)
        assert (work.passkeys.forget(later), work.identities.forget(later)) == (1, 1)
