"""Two gateways, each with its own database, Slurm, store and keys, that trust each other as administrators say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from gateway_site import Site, site_in

from gateway import wire
from gateway.accounting.ledger import AccountKind
from gateway.bootstrap.rings import signing_keys
from gateway.client.federation import visit
from gateway.client.gateway import Gateway, Submission
from gateway.client.session import Session
from gateway.errors import BadSignature, NotFound, Refused, SignatureExpired, SignatureReplayed
from gateway.identity import jws, peers
from gateway.identity.evidence import verify_evidence
from gateway.identity.groups import Group, GroupRole
from gateway.identity.key_ring import KeyRing, verify_with
from gateway.identity.keys import make_key, public_jwk

pytestmark = pytest.mark.timeout(300)

SCRIPT = "#!/bin/bash\n#SBATCH --time=1\necho from far away > answer.txt\n"


@pytest.fixture(scope="module")
def home() -> Iterator[Site]:
    """Where ada is known."""
    with site_in(nodes="process", name="home") as site:
        site.add_user("ada")
        yield site


@pytest.fixture(scope="module")
def away() -> Iterator[Site]:
    """Where she has no password, and a project has money."""
    with site_in(nodes="process", name="away", idle_s=20) as site:
        with site.work(write=True) as work:
            work.ledger.open_account("climate", AccountKind.PROJECT)
            work.groups.add(Group("climate", "Climate", "climate"), datetime.now(UTC))
            work.groups.put("climate", "admin", GroupRole.LEADER, datetime.now(UTC))
            work.ledger.deposit("climate", 5_000_000, "grant", datetime.now(UTC))
        yield site


@pytest.fixture
def trusting(home: Site, away: Site) -> None:
    """Both administrators have said so."""
    assert away.burst("peers", "trust", "home", home.url, "--project", "climate", "--yes", user="admin").code == 0
    assert home.burst("peers", "trust", "away", away.url, "--yes", user="admin").code == 0


def knock(away: Site, visa: str, key, kid: str) -> wire.Session:
    """Show a visa, in a request signed by ``key``."""
    known, members = away.login().session.profile, key.as_dict(private=True)
    profile = replace(known, session=kid, key={name: members[name] for name in ("kty", "crv", "x", "d")})
    with Session(profile) as session:
        return session.post("/visits", wire.VisitRequest(visa=visa), wire.Session, safe=False)


def ring_of(site: Site) -> KeyRing:
    """The site's signing keys: who has these has taken the gateway over."""
    return signing_keys(site.machine.settings, site.machine.sealer)


def forged(site: Site, key, **other: object) -> str:
    """A visa that ``site`` signs now, with ``other`` claims than it would."""
    now = datetime.now(UTC)
    claims = {
        "iss": site.url,
        "sub": "ada",
        "aud": "",
        "sid": "forged",
        "scope": "jobs:write money:write",
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=5)).timestamp()),
        "jti": f"forged-{now.timestamp()}",
        "cnf": {"jwk": public_jwk(key)},
    }
    return ring_of(site).sign(json.dumps(claims | other).encode(), peers.VISA_TYPE, now)


def test_f08_an_unknown_gateway_vouches_for_nobody(home: Site, away: Site) -> None:
    """Given two gateways that have not heard of each other, neither gives a visa nor takes one."""
    key = make_key()
    with pytest.raises(NotFound, match="is no gateway that this one trusts"):
        visit(home.login("ada").session, away.url)
    audience = away.login().session.profile.audience
    with pytest.raises(BadSignature, match="does not trust"):
        knock(away, forged(home, key, aud=audience), key, "forged")


@pytest.mark.usefixtures("trusting")
def test_f08_a_user_of_one_submits_at_the_other(home: Site, away: Site) -> None:
    """Given both administrators' trust, ada's job runs there, a project there pays, and the evidence names her home."""
    said = home.burst("visit", "away", "--json", user="ada")
    assert said.code == 0, said.err
    assert said.json["user"] == "ada@home"

    guest = Gateway(visit(home.login("ada").session, "away"))
    job = guest.submit(Submission(SCRIPT, "job.sh"))
    ended = guest.wait(job.burst_id)

    assert (ended.state, ended.user, ended.account) == ("COMPLETED", "ada@home", "climate")
    assert guest.receipt(job.burst_id).account == "climate"
    assert [file.path for file in guest.outputs(job.burst_id).files if file.path == "answer.txt"]
    with away.work() as work:
        ordered = work.evidence.get(work.jobs.get(job.burst_id).authorisation)
        (proof,) = [row[0] for row in away.rows("SELECT authorisation FROM visits WHERE session = ?", ordered.kid)]
        brought = work.evidence.get(proof)
    audience = guest.session.profile.audience
    assert verify_evidence(ordered, audience).body_digest
    assert verify_evidence(brought, audience).kid
    visa = json.loads(verify_with(ring_of(home).jwks(), json.loads(brought.body)["visa"], peers.VISA_TYPE))
    assert (visa["iss"], visa["sub"], visa["cnf"]["jwk"]) == (home.url, "ada", dict(brought.public_key))


@pytest.mark.usefixtures("trusting")
def test_a_visitor_has_no_more_than_a_visit_gives(home: Site, away: Site) -> None:
    """Not the money's and the people's rights, nobody else's jobs, no further journey."""
    mine = away.submit("true", "--time=1")
    with Gateway(visit(home.login("ada").session, "away")) as guest:
        with pytest.raises(NotFound):
            guest.job(mine.burst_id)
        with pytest.raises(Refused):
            guest.distrust("home")
        with pytest.raises(Refused, match="A visitor goes nowhere"):
            guest.session.post("/visas", wire.VisaRequest(peer="home", public_key=public_jwk(make_key())), wire.Visa)
    for words in (
        ("users", "role", "ada@home", "admin"),
        ("users", "reset", "ada@home", "--password"),
    ):
        refused = away.burst(*words, user="admin")
        assert (refused.code, "comes from another gateway" in refused.err) == (1, True), refused.err
    away.finish(mine)


@pytest.mark.usefixtures("trusting")
def test_a_visa_is_for_one_key_one_gateway_one_time_and_minutes(home: Site, away: Site) -> None:
    """Stolen without its key, used twice, for another gateway or too old: refused each time."""
    key, ada = make_key(), home.login("ada").session
    visa = ada.post("/visas", wire.VisaRequest(peer="away", public_key=public_jwk(key)), wire.Visa)
    with pytest.raises(BadSignature):
        knock(away, visa.visa, make_key(), visa.kid)
    assert knock(away, visa.visa, key, visa.kid).user == "ada@home"
    with pytest.raises(SignatureReplayed):
        knock(away, visa.visa, key, visa.kid)
    with pytest.raises(BadSignature, match="another gateway"):
        knock(away, forged(home, key, aud="burst/elsewhere/1"), key, "forged")
    long_ago = int((datetime.now(UTC) - timedelta(hours=25)).timestamp())
    with pytest.raises(SignatureExpired):
        knock(away, forged(home, key, aud=visa.audience, iat=long_ago, exp=long_ago + 300), key, "forged")
    with pytest.raises(SignatureExpired):
        knock(
            away, forged(home, key, aud=visa.audience, exp=int(datetime.now(UTC).timestamp()) + 86_400), key, "forged"
        )


@pytest.mark.usefixtures("trusting")
def test_f59_a_gateway_that_was_taken_over_spends_nobody_elses_money(home: Site, away: Site) -> None:
    """Whoever has all keys of the gateway that computes makes no order, and no user, of the one that pays."""
    key, audience = make_key(), home.login().session.profile.audience
    with pytest.raises(Refused, match="may not spend from any project"):
        knock(home, forged(away, key, aud=audience), key, "forged")
    with pytest.raises(BadSignature):
        knock(home, forged(away, key, iss=home.url, aud=audience), key, "forged")
    order = jws.sign(
        b"{}", ring_of(away).current.key, kid=home.login("ada").session.profile.session, typ=peers.VISA_TYPE
    )
    with pytest.raises(BadSignature):
        knock(home, order, key, "forged")
    assert home.rows("SELECT count(*) FROM jobs") == [(0,)]
    assert home.rows("SELECT kind, account FROM ledger_entries WHERE kind <> 'deposit'") == []


@pytest.mark.usefixtures("trusting")
def test_trust_that_is_taken_back_ends_at_once(home: Site, away: Site) -> None:
    """Sessions die, money is closed, no new visit; who comes back later has the old name and jobs."""
    with Gateway(visit(home.login("ada").session, "away")) as guest:
        assert guest.session.get("/whoami", wire.Identity).user == "ada@home"
        assert away.burst("peers", "distrust", "home", user="admin").code == 0
        with pytest.raises(SignatureExpired):
            guest.session.get("/whoami", wire.Identity)
    with pytest.raises(BadSignature, match="does not trust"):
        visit(home.login("ada").session, "away")
    with away.work() as work:
        assert work.users.get("ada@home").accounts == {"ada@home"}
        assert [each.user for each in work.groups.members("climate")] == ["admin"]
    listed = away.burst("peers", "--json", user="admin")
    assert listed.json == []


def test_a_wrong_fingerprint_is_not_trusted(home: Site, away: Site) -> None:
    """What the administrators compared is asked for; another key is refused before anything is sent."""
    said = home.burst("peers", "trust", "away", away.url, "--fingerprint", "AAAA", user="admin")
    assert said.code != 0
    assert "has no key AAAA" in said.complaint
    right = ring_of(away).current.kid
    assert home.burst("peers", "trust", "away", away.url, "--fingerprint", right, user="admin").code == 0
