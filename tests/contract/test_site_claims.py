"""A claim: two halves that make one link, and everything that makes none. The key ring and the table are real."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from gateway import wire
from gateway.engines.site_people import BY_ADMINISTRATOR, BY_BOTH, Link, SitePeople
from gateway.errors import BadSignature, Conflict, InvalidRequest, Refused
from gateway.identity.authenticate import Caller
from gateway.identity.key_ring import KeyRing
from gateway.identity.scopes import ALL, Scope
from gateway.identity.users import Role, User
from gateway.service.site_claims import GOOD_FOR, SiteClaims, SiteClaimService

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class Desk:
    """A gateway of one site; what the audit log and the evidence got is in ``told`` and ``kept``."""

    def __init__(self, folder) -> None:
        self.told: list[object] = []
        self.kept: list[object] = []
        self.now = NOW
        self.ring = KeyRing.open(folder / "keys.json", NOW)
        self.people = SitePeople(folder / "people.json", {}, same_names=False)
        service = SimpleNamespace(works=self._works, now=lambda: self.now)
        self.service = SiteClaimService(service, self.ring, "cloud")
        self.claims = SiteClaims(self._works, self.ring, self.people)

    @contextmanager
    def _works(self):
        yield SimpleNamespace(
            evidence=SimpleNamespace(keep=self.kept.append),
            audit=SimpleNamespace(tell=lambda act, _: self.told.append((act.actor, act.action, act.authorisation))),
        )

    def caller(self, scopes=ALL) -> Caller:
        """alice, who signed her request."""
        session = SimpleNamespace(scopes=scopes)
        return Caller(User("alice", Role.USER, "alice", NOW), session, None, SimpleNamespace(digest="f" * 64))

    def code(self) -> str:
        """The first half, as it stands in the script that sbatch is given."""
        view = self.service.begin(self.caller(), wire.ClaimRequest(unix_name="asmith"))
        assert view.command[:2] == ("sbatch", "--partition=cloud")
        script = "#!/bin/sh\n# This script was created by sbatch --wrap.\n\n" + view.command[-1].removeprefix("--wrap=")
        return self.claims.code_in(script + "\n")


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path)


def test_both_halves_make_a_link_with_its_evidence(desk):
    """The signed request is kept, and the audit log has both halves; the same job read twice is one link."""
    code = desk.code()
    assert desk.people.user_of("asmith") is None

    link = desk.claims.finish(code, "asmith", NOW)
    desk.claims.finish(code, "asmith", NOW)

    assert link == Link("asmith", "alice", BY_BOTH, "f" * 64)
    assert desk.people.user_of("asmith") == "alice"
    assert [evidence.digest for evidence in desk.kept] == ["f" * 64]
    assert desk.told[:2] == [("alice", "claim", "f" * 64), ("alice", "link", "f" * 64)]


def test_in_another_s_hands_it_is_worth_nothing(desk):
    """Comments and scripts of jobs can be read by others."""
    with pytest.raises(BadSignature, match="this claim is for asmith, not eve"):
        desk.claims.finish(desk.code(), "eve", NOW)
    assert desk.people.links() == ()


def test_it_grows_old_and_cannot_be_made_up(desk, tmp_path):
    """An hour; and only this gateway's key makes one."""
    code = desk.code()

    with pytest.raises(BadSignature, match="too old"):
        desk.claims.finish(code, "asmith", NOW + GOOD_FOR)
    desk.claims.finish(code, "asmith", NOW + GOOD_FOR - timedelta(seconds=1))
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(BadSignature):
        desk.claims.finish(Desk(tmp_path / "elsewhere").code(), "asmith", NOW)


def test_who_is_linked_already_stays_so(desk):
    """An administrator's word is not overruled by a claim."""
    desk.people.link(Link("asmith", "ann", BY_ADMINISTRATOR))

    with pytest.raises(Conflict, match="asmith is the gateway's ann already"):
        desk.claims.finish(desk.code(), "asmith", NOW)


def test_root_other_gateways_and_small_logins_get_none(desk):
    """Each is told why."""
    with pytest.raises(InvalidRequest, match="root"):
        desk.service.begin(desk.caller(), wire.ClaimRequest(unix_name="root"))
    with pytest.raises(Refused, match="scope"):
        desk.service.begin(desk.caller(frozenset({Scope.JOBS_READ})), wire.ClaimRequest(unix_name="asmith"))
    nowhere = SiteClaimService(desk.service.people, desk.ring, None)
    with pytest.raises(InvalidRequest, match="serves no site"):
        nowhere.begin(desk.caller(), wire.ClaimRequest(unix_name="asmith"))


def test_a_job_is_no_claim(desk):
    """Only a line of its own is."""
    assert desk.claims.code_in("#!/bin/sh\necho '#BURST --claim=x'\n") is None
    assert desk.claims.code_in("") is None
