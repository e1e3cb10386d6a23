"""Codes, recovery codes and remembered devices: F01, F03, F06, and the weaknesses W9, W10 and W20."""

from __future__ import annotations

import hashlib
import re
import threading
from urllib.parse import unquote, urlsplit

import pytest
from argon2 import PasswordHasher
from registry import HERE, PASSWORD, URL, Registry

from gateway import wire
from gateway.errors import CodeNeeded, Conflict, InvalidRequest, NotAllowed, SignatureExpired, TooManyTries
from gateway.identity import passwords, totp
from gateway.identity.device_keys import make_proof
from gateway.identity.factors import Proof
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.users import Role
from gateway.service.registration import RegistrationService
from gateway.storage.database import Database

WRONG = r"The user name or the password is wrong\."


@pytest.fixture
def strong_registry(sqlite_url, tmp_path):
    """Ada, who has a password; hashes are as slow as they are in a gateway."""
    database = Database(sqlite_url())
    made = Registry(database, tmp_path)
    made.add("ada")
    yield made
    database.close()


@pytest.fixture
def registry(monkeypatch, sqlite_url, tmp_path):
    """The same with cheap hashes, for tests that are not about them."""
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    database = Database(sqlite_url())
    made = Registry(database, tmp_path)
    made.add("ada")
    yield made
    database.close()


def test_f01_a_user_registers_with_an_invitation_and_enrols_an_app(strong_registry):
    """The URI parses, what is stored has Argon2id's parameters and no secret, a wrong code is refused."""
    strong_registry.add("boss", Role.ADMIN)
    boss = strong_registry.log_in("boss")
    made = strong_registry.registration.invite(
        boss.signs(), wire.InvitationRequest(user="grace", credits_ucr=5_000_000)
    )
    request = wire.RegisterRequest(user="grace", password="grace's own password", invitation=made.code)

    registered = strong_registry.registration.register(request, HERE)
    grace = strong_registry.log_in("grace", "grace's own password")
    begun = strong_registry.factors.begin_totp(grace.signs(), wire.PasswordProof(password="grace's own password"), HERE)

    assert (registered.user, registered.account) == ("grace", "grace")
    uri = urlsplit(begun.uri)
    assert (uri.scheme, uri.netloc, unquote(uri.path)) == ("otpauth", "totp", "/burst-burst.example:grace")
    wrong = wire.ConfirmRequest(code="000000")
    with pytest.raises(NotAllowed, match="The code is wrong"):
        strong_registry.factors.confirm_totp(grace.signs(), wrong, HERE)
    assert not strong_registry.factors.view(grace.signs()).totp, (
        "a secret whose first code was not seen counts for nothing"
    )
    stored = strong_registry.stored()
    assert "$argon2id$v=19$m=65536,t=3,p=4$" in stored
    for secret in ("grace's own password", made.code, begun.secret, begun.secret.rstrip("=")):
        assert secret not in stored
    with strong_registry.reads() as work:
        assert work.ledger.balance("grace").available_ucr == 5_000_000
    assert strong_registry.told("register")[0][:2] == ("grace", "user:grace")


def test_a_login_needs_a_code_once_an_app_is_enrolled(registry):
    """That one is needed is said after the right password; a wrong one reads as a wrong password; sealed at rest."""
    secret, codes = registry.enrol(registry.log_in("ada"))
    registry.later(seconds=30)

    with pytest.raises(CodeNeeded):
        registry.log_in("ada")
    with pytest.raises(NotAllowed, match=WRONG) as wrong_code:
        registry.log_in("ada", code="000000" if registry.code(secret) != "000000" else "000001")
    with pytest.raises(NotAllowed, match=WRONG) as wrong_password:
        registry.log_in("ada", "another password", code=registry.code(secret))
    with pytest.raises(NotAllowed, match=WRONG) as wrong_name:
        registry.log_in("nobody", code=registry.code(secret))
    registry.log_in("ada", code=f" {registry.code(secret)[:3]} {registry.code(secret)[3:]} ")

    said = [(type(one.value), one.value.detail, one.value.hint) for one in (wrong_code, wrong_password, wrong_name)]
    assert len(set(said)) == 1, "the same words, whatever was wrong"
    stored = registry.stored()
    assert secret.hex() not in stored
    assert not any(code in stored for code in codes)
    assert [row[2] for row in registry.told("log in")] == ["alarm"]


def test_w09_a_code_is_good_once(registry):
    """W9: a naive check takes the same code twice within its window; ours takes it once, also in the next window."""
    secret, _ = registry.enrol(registry.log_in("ada"))
    registry.later(seconds=30)
    code = registry.code(secret)

    def naive() -> bool:
        return any(totp.code_at(secret, totp.step_of(registry.at) + drift) == code for drift in (-1, 0, 1))

    assert naive()
    assert naive(), "the attack: who has read the code over a shoulder logs in too"
    registry.log_in("ada", code=code)
    for _ in range(2):
        with pytest.raises(NotAllowed, match=WRONG):
            registry.log_in("ada", code=code)
        registry.later(seconds=30)
        assert naive() or _
    older = registry.code(secret, -1)
    registry.log_in("ada", code=registry.code(secret))
    with pytest.raises(NotAllowed, match=WRONG):
        registry.log_in("ada", code=older)


def test_f03_of_eight_uses_of_a_code_at_once_one_passes(database, tmp_path):
    """On SQLite and on PostgreSQL: a code that is read by eight threads logs one of them in."""
    registry = Registry(database, tmp_path)
    registry.add("ada")
    secret, _ = registry.enrol(registry.log_in("ada"))
    registry.later(seconds=30)
    code, outcomes, start = registry.code(secret), list[str](), threading.Barrier(8)

    def use() -> None:
        start.wait()
        try:
            with registry.works() as work:
                registry.people.judge.check(work.factors, work.device_keys, "ada", Proof(code), registry.at)
            outcomes.append("in")
        except NotAllowed:
            outcomes.append("refused")

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["in"] + ["refused"] * 7


def test_guesses_of_a_code_are_limited_wherever_they_come_from(registry):
    """Who has the password has ten tries in ten minutes, from all their addresses together."""
    secret, _ = registry.enrol(registry.log_in("ada"))
    registry.later(seconds=30)
    right = registry.code(secret)
    refused = 0
    for address in range(10):
        with pytest.raises(NotAllowed, match=WRONG):
            registry.people.check_password("ada", PASSWORD, f"198.51.100.{address}", Proof("1234567"))
        refused += 1

    with pytest.raises(TooManyTries):
        registry.people.check_password("ada", PASSWORD, "198.51.100.99", Proof(right))
    assert refused == 10


def test_a_browser_signs_in_with_a_code_too(registry):
    """The sign-in of the web pages, and so the approval of a device login, goes through the same decision."""
    secret, _ = registry.enrol(registry.log_in("ada"))
    registry.later(seconds=30)

    with pytest.raises(CodeNeeded):
        registry.browsers.sign_in("ada", PASSWORD, None, address=HERE, agent="Firefox")
    code = registry.code(secret)
    cookie, _ = registry.browsers.sign_in("ada", PASSWORD, None, address=HERE, agent="Firefox", code=code)
    with pytest.raises(NotAllowed, match=WRONG):
        registry.browsers.sign_in("ada", PASSWORD, None, address=HERE, agent="Firefox", code=code)

    assert registry.browsers.visit(cookie).reader.user.name == "ada"


def test_f06_a_remembered_device_needs_no_code_and_revocation_kills_it(registry):
    """Its key stands in for the code, for this login only and beside the password; revoked, it is worth nothing."""
    login = registry.log_in("ada")
    secret, _ = registry.enrol(login)
    registry.later(seconds=30)
    device = make_key()
    remember = wire.Remember(public_key=public_jwk(device), name="laptop")
    first = registry.log_in("ada", code=registry.code(secret), remember=remember)
    key = make_key()

    def word(**other: object) -> str:
        facts = {"user": "ada", "session_key": key, "audience": "burst/test", "now": registry.at, **other}
        return make_proof(device, **facts)

    assert first.session.device
    registry.log_in("ada", key=key, device=word())
    with pytest.raises(NotAllowed, match=WRONG):
        registry.log_in("ada", "another password", key=key, device=word())
    for spoilt in ({"session_key": make_key()}, {"user": "eve"}, {"audience": "burst/other"}):
        with pytest.raises(CodeNeeded):
            registry.log_in("ada", key=key, device=word(**spoilt))
    with pytest.raises(CodeNeeded):
        registry.log_in("ada", key=key, device=make_proof(make_key(), "ada", key, "burst/test", registry.at))
    old = word()
    registry.later(minutes=4)
    with pytest.raises(CodeNeeded):
        registry.log_in("ada", key=key, device=old)

    (listed,) = registry.factors.devices(login.signs())
    assert (listed.name, listed.last_used_at is not None) == ("laptop", True)
    registry.factors.revoke_device(login.signs(), listed.id, HERE)
    with pytest.raises(CodeNeeded):
        registry.log_in("ada", key=key, device=word())
    assert registry.factors.devices(login.signs()) == []
    with pytest.raises(Conflict):
        registry.log_in("ada", code=registry.code(secret), remember=remember)
    assert [row[1] for row in registry.told("revoke device")] == [f"device:{listed.id}"]


def test_a_device_is_remembered_after_a_code_only(registry):
    """Whoever had the password before an app was enrolled could otherwise have kept a way around it."""
    remember = wire.Remember(public_key=public_jwk(make_key()), name="thief")

    login = registry.log_in("ada", remember=remember, code="123456")
    secret, _ = registry.enrol(login)

    assert login.session.device is None
    assert registry.factors.devices(login.signs()) == []
    assert secret


def test_f06_recovery_needs_the_password_and_an_unused_code(registry):
    """Then the lost app, the devices and the logins are gone; a code works once; all of it is told."""
    login = registry.log_in("ada")
    _, codes = registry.enrol(login)

    def recover(password: str = PASSWORD, code: str = codes[0], user: str = "ada") -> None:
        registry.factors.recover(wire.RecoverRequest(user=user, password=password, recovery_code=code), HERE)

    for wrong in ({"password": "another password"}, {"code": "ABCDEF-ABCDEF-ABCDEF-ABCDEF"}, {"user": "nobody"}):
        with pytest.raises(NotAllowed, match=WRONG):
            recover(**wrong)
    recover(code=codes[0].lower().replace("-", " "))

    with pytest.raises(SignatureExpired):
        login.signs()
    again = registry.log_in("ada")
    assert not registry.factors.view(again.signs()).totp
    with pytest.raises(NotAllowed, match=WRONG):
        recover()
    outcomes = [(row[2], row[3]) for row in registry.told("recover")]
    assert [outcome for outcome, _ in outcomes] == ["alarm", "done", "alarm"]


def test_removing_the_app_needs_a_fresh_factor(registry):
    """A stolen session has neither password nor code; new recovery codes void the old ones."""
    login = registry.log_in("ada")
    secret, codes = registry.enrol(login)
    registry.later(seconds=30)
    with pytest.raises(NotAllowed, match=WRONG):
        registry.factors.remove_totp(login.signs(), wire.PasswordProof(password="guess"), HERE)
    with pytest.raises(CodeNeeded):
        registry.factors.remove_totp(login.signs(), wire.PasswordProof(password=PASSWORD), HERE)
    fresh = wire.PasswordProof(password=PASSWORD, code=registry.code(secret))
    renewed = registry.factors.new_recovery_codes(login.signs(), fresh, HERE)
    with pytest.raises(NotAllowed, match=WRONG):
        registry.factors.remove_totp(login.signs(), fresh, HERE)
    registry.later(seconds=30)
    fresh = wire.PasswordProof(password=PASSWORD, code=registry.code(secret))
    registry.factors.remove_totp(login.signs(), fresh, HERE)

    assert not set(codes) & set(renewed.codes)
    assert len(set(renewed.codes)) == 10
    registry.log_in("ada")


def test_a_new_password_ends_the_other_logins(registry):
    """It needs the present one and a code; the session that changed it goes on."""
    mine, other = registry.log_in("ada"), registry.log_in("ada")
    secret, _ = registry.enrol(mine)
    registry.later(seconds=30)
    code = registry.code(secret)
    cookie, _ = registry.browsers.sign_in("ada", PASSWORD, None, address=HERE, agent="Firefox", code=code)
    registry.later(seconds=30)

    def change(**how: str) -> None:
        facts = {"password": PASSWORD, "code": registry.code(secret), "new_password": "a new long password", **how}
        registry.factors.change_password(mine.signs(), wire.PasswordRequest(**facts), HERE)

    with pytest.raises(NotAllowed, match=WRONG):
        change(password="guess")
    with pytest.raises(NotAllowed, match=WRONG):
        change(code="000000" if registry.code(secret) != "000000" else "000001")
    change()

    mine.signs()
    with pytest.raises(SignatureExpired):
        other.signs()
    with pytest.raises(SignatureExpired):
        registry.browsers.visit(cookie)
    registry.later(seconds=30)
    with pytest.raises(NotAllowed, match=WRONG):
        registry.log_in("ada", code=registry.code(secret))
    registry.log_in("ada", "a new long password", code=registry.code(secret))
    registry.later(seconds=30)
    with pytest.raises(InvalidRequest):
        change(password="a new long password", new_password="short")


def test_w10_what_is_stored_of_a_password_cannot_be_looked_up_or_guessed_fast(strong_registry):
    """W10: a naive store looks users up by MD5 of name and password, which a word list opens; ours has Argon2id."""
    words = ["123456", "letmein", PASSWORD]

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - the weakness

    naive = md5(md5(URL) + md5("ada" + PASSWORD))
    cracked = [word for word in words if md5(md5(URL) + md5("ada" + word)) == naive]
    assert cracked == [PASSWORD], "the attack: a listing of the store and a word list"

    strong_registry.enrol(strong_registry.log_in("ada"))
    stored = strong_registry.stored()
    fast = {
        getattr(hashlib, kind)(text.encode()).hexdigest()
        for kind in ("md5", "sha1", "sha256", "sha512")
        for text in (PASSWORD, "ada" + PASSWORD, PASSWORD + "ada", f"ada:{PASSWORD}")
    }
    assert not [digest for digest in (*fast, naive) if digest in stored]
    with strong_registry.reads() as work:
        kept = work.users.password_hash("ada")
    found = re.fullmatch(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=\d+\$[^$]{22}\$[^$]{43}", kept)
    assert found
    # RFC 9106 section 4, second recommended option.
    assert int(found[1]) >= 64 * 1024
    assert int(found[2]) >= 3
    strong_registry.add("grace")
    with strong_registry.reads() as work:
        assert work.users.password_hash("grace") != kept, "the same password, another salt"


def test_an_app_is_enrolled_once(registry):
    """A second one while one counts is a conflict; one that waits for its first code is replaced."""
    login = registry.log_in("ada")
    proof = wire.PasswordProof(password=PASSWORD)
    with pytest.raises(Conflict):
        registry.factors.confirm_totp(login.signs(), wire.ConfirmRequest(code="123456"), HERE)
    one = registry.factors.begin_totp(login.signs(), proof, HERE)
    other = registry.factors.begin_totp(login.signs(), proof, HERE)
    assert one.secret != other.secret
    secret, _ = registry.enrol(login)
    registry.later(seconds=30)
    with pytest.raises(CodeNeeded):
        registry.factors.begin_totp(login.signs(), proof, HERE)
    fresh = wire.PasswordProof(password=PASSWORD, code=registry.code(secret))
    with pytest.raises(Conflict):
        registry.factors.begin_totp(login.signs(), fresh, HERE)


@pytest.mark.parametrize("wrong", ["name", "password", "code"])
def test_every_refusal_takes_the_time_of_one_password(monkeypatch, registry, wrong):
    """A wrong name, a wrong password and a wrong code are each one Argon2 hash away from the answer."""
    registry.enrol(registry.log_in("ada"))
    passwords._nobodys_hash()  # made once in a gateway's life
    hashed = []
    verify = passwords._HASHER.verify

    class Counting:
        def verify(self, kept: str, given: str) -> bool:
            hashed.append(given)
            return verify(kept, given)

    monkeypatch.setattr(passwords, "_HASHER", Counting())
    name, password = ("nobody" if wrong == "name" else "ada"), ("another" if wrong == "password" else PASSWORD)

    with pytest.raises(NotAllowed, match=WRONG):
        registry.log_in(name, password, code="1234567")
    assert len(hashed) == 1


def test_where_registration_is_open_everybody_becomes_a_user_without_credits(registry):
    """A name that is taken, by a user, an account or the gateway itself, must be said to be."""
    freely = RegistrationService(registry.people, open=True)
    freely.register(wire.RegisterRequest(user="grace", password=PASSWORD), HERE)

    for name in ("ada", "grace", "gateway"):
        request = wire.RegisterRequest(user=name, password=PASSWORD)
        with pytest.raises(Conflict, match="is taken"):
            freely.register(request, HERE)
    with pytest.raises(InvalidRequest):
        freely.register(wire.RegisterRequest(user="bob", password="short"), HERE)
    request = wire.RegisterRequest(user="bob", password=PASSWORD)
    with pytest.raises(NotAllowed, match="This invitation is not good"):
        registry.registration.register(request, HERE)
    with registry.reads() as work:
        assert work.ledger.balance("grace").available_ucr == 0
    for number in range(40):
        request = wire.RegisterRequest(user=f"n{number}", password=PASSWORD, invitation="guess")
        with pytest.raises(NotAllowed) as refused:
            freely.register(request, HERE)
    assert isinstance(refused.value, TooManyTries)


def test_an_invitation_ends_with_its_time_and_with_the_next_one(registry):
    """After its hours it is not good, and the older of two for one name is void."""
    registry.add("boss", Role.ADMIN)
    boss = registry.log_in("boss")
    invite = wire.InvitationRequest(user="grace", hours=1)
    first = registry.registration.invite(boss.signs(), invite)
    second = registry.registration.invite(boss.signs(), invite)

    def register(code: str) -> wire.Registered:
        request = wire.RegisterRequest(user="grace", password=PASSWORD, invitation=code)
        return registry.registration.register(request, HERE)

    with pytest.raises(NotAllowed, match="not good"):
        register(first.code)
    registry.later(hours=1)
    with pytest.raises(NotAllowed, match="not good"):
        register(second.code)
    assert register(registry.registration.invite(boss.signs(), invite).code).user == "grace"
    told = registry.told("invite user")
    assert [row[:2] for row in told] == [("boss", "user:grace")] * 3
    with registry.reads() as work:
        assert all(work.evidence.get(row[4]).kid == boss.session.id for row in told)
