"""Users, groups and registration through the real door: F16 (membership), F57."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

import httpx2
import pytest
from http_door import API, SCRIPT, problem_of
from registry import secret_of

from gateway.identity import totp
from gateway.identity.keys import make_key, public_jwk
from gateway.settings import CREDIT

PASSWORD = "a good long password"
GONE = "x" * 32


def invited(door, admin, name, **gives):
    """Invite, register and log in."""
    made = admin.send("POST", "/invitations", {"user": name, **gives})
    assert made.status_code == 201, made.text
    answer = register(door, name, invitation=made.json()["code"])
    assert answer.status_code == 201, answer.text
    return door.log_in(name, PASSWORD)


def register(door, name, **more):
    return door.http.post(f"{API}/users", json={"user": name, "password": PASSWORD, **more})


def signed_in(door, name, code):
    """The web form's status, and whether the page asks for a code."""
    with httpx2.Client(base_url=door.url, timeout=60) as browser:
        form = browser.get("/web/sign-in").text
        fields = {"token": re.search(r'name="token" value="([0-9a-f]+)"', form)[1], "user": name, "password": PASSWORD}
        answer = browser.post("/web/sign-in", data=fields | ({"code": code} if code else {}))
    assert 'name="code"' not in form
    return answer.status_code, 'name="code"' in answer.text


def code_of(secret, steps=0):
    return totp.code_at(secret, totp.step_of(datetime.now(UTC)) + steps)


def new_name(stem):
    return f"{stem}-{secrets.token_hex(3)}"


def test_an_invitation_is_for_one_person_once(door, admin):
    """Another name, a wrong code, a second use and none at all are refused in the same words."""
    name = new_name("ada")
    code = admin.send("POST", "/invitations", {"user": name, "credits_ucr": 5 * CREDIT}).json()["code"]

    said = {
        problem_of(answer, 403, "not_allowed").detail
        for answer in (
            register(door, new_name("eve"), invitation=code),
            register(door, name, invitation=GONE),
            register(door, name),
            register(door, "demo"),
            register(door, "demo", invitation=GONE),
        )
    }
    assert register(door, name, invitation=code).status_code == 201
    said.add(problem_of(register(door, name, invitation=code), 403, "not_allowed").detail)

    assert said == {"This invitation is not good."}
    balances = door.log_in(name, PASSWORD).send("GET", "/balance").json()
    assert [(one["account"], one["available_ucr"]) for one in balances] == [(name, 5 * CREDIT)]
    problem_of(admin.send("POST", "/invitations", {"user": name}), 409, "conflict")
    problem_of(admin.send("POST", "/invitations", {"user": "gateway"}), 409, "conflict")


def test_who_was_added_chooses_a_password(door, admin):
    """The user is there at once; nobody can log in until the code was used."""
    name = new_name("ada")
    code = admin.send("POST", "/invitations", {"user": name, "add": True}).json()["code"]

    assert name in {one["user"] for one in admin.send("GET", "/users").json()}
    assert register(door, name, invitation=code).status_code == 201
    assert door.log_in(name, PASSWORD).send("GET", "/whoami").json()["user"] == name


def test_f57_a_second_administrator_is_added_and_removed(door, admin):
    """What one may follows at once; the last one can be neither removed nor disabled."""
    name = new_name("second")
    second = invited(door, admin, name)
    problem_of(second.send("GET", "/users"), 403, "refused")

    assert admin.send("POST", f"/users/{name}/role", {"role": "admin"}).json()["role"] == "admin"
    assert second.send("GET", "/users").status_code == 200
    assert second.send("POST", f"/users/{name}/role", {"role": "user"}).json()["role"] == "user"
    problem_of(second.send("GET", "/users"), 403, "refused")

    for verb, body in (("role", {"role": "user"}), ("disable", None)):
        said = problem_of(admin.send("POST", f"/users/admin/{verb}", body), 409, "conflict")
        assert "administrator" in said.detail
    assert admin.send("GET", "/whoami").json()["role"] == "admin"


def test_a_disabled_user_is_out_at_once(door, admin):
    """Sessions end and no login is made; with the right password one is told; enabled again, all is as before."""
    name = new_name("ada")
    visitor = invited(door, admin, name)

    assert admin.send("POST", f"/users/{name}/disable").json()["disabled"] is True

    problem_of(visitor.send("GET", "/whoami"), 401, "signature_expired")
    facts = {"user": name, "password": PASSWORD, "public_key": public_jwk(make_key())}
    problem_of(door.http.post(f"{API}/sessions", json=facts), 403, "refused")
    wrong = door.http.post(f"{API}/sessions", json={**facts, "password": "another"})
    assert "disabled" not in problem_of(wrong, 403, "not_allowed").detail
    admin.send("POST", f"/users/{name}/enable")
    assert door.log_in(name, PASSWORD).send("GET", "/whoami").status_code == 200


def test_an_administrator_resets_a_lost_app(door, admin):
    """Without the code nobody gets in; after the reset the password is enough, or the new one that the code gives."""
    name = new_name("ada")
    visitor = invited(door, admin, name)
    begun = visitor.send("POST", "/totp", {"password": PASSWORD}).json()
    secret = secret_of(begun["uri"])
    code = code_of(secret)
    assert visitor.send("POST", "/totp/confirm", {"code": code}).status_code == 200
    facts = {"user": name, "password": PASSWORD, "public_key": public_jwk(make_key())}
    problem_of(door.http.post(f"{API}/sessions", json=facts), 403, "code_needed")
    assert {one["user"]: one["totp"] for one in admin.send("GET", "/users").json()}[name] is True

    assert signed_in(door, name, code=None) == (403, True)
    assert signed_in(door, name, code=code) == (403, True), "used to enrol the app"
    assert signed_in(door, name, code=code_of(secret, 1)) == (303, False)

    reset = admin.send("POST", f"/users/{name}/reset", {"password": True}).json()

    problem_of(visitor.send("GET", "/whoami"), 401, "signature_expired")
    assert door.http.post(f"{API}/sessions", json=facts).status_code == 201
    new = {"user": name, "password": "another long password", "invitation": reset["code"]}
    assert door.http.post(f"{API}/users", json=new).status_code == 201
    problem_of(door.http.post(f"{API}/sessions", json=facts), 403, "not_allowed")
    door.log_in(name, "another long password")


@pytest.fixture(scope="module")
def project(door, admin):
    """A project with fifty credits, led by one user, with one member."""
    leader, member, name = new_name("leader"), new_name("member"), new_name("ice")
    visitors = invited(door, admin, leader), invited(door, admin, member)
    made = admin.send("POST", "/groups", {"group": name, "project": True, "leader": leader})
    assert made.status_code == 201, made.text
    assert admin.send("POST", f"/accounts/{name}/credits", {"amount_ucr": 50 * CREDIT, "memo": "x"}).status_code == 200
    return name, leader, member, *visitors


@pytest.mark.parametrize("line", ["#BURST --account-to={}", "#SBATCH --account={}"])
def test_f16_who_is_removed_from_a_project_spends_and_sees_nothing_more_at_once(project, line):
    """A member pays from its account by either line, and sees it; with the very next request no more."""
    name, _, member, leads, works = project
    script = SCRIPT.replace("#SBATCH --time=1\n", f"#SBATCH --time=1\n{line.format(name)}\n")
    quote = {"script": script}
    problem_of(works.send("POST", "/quotes", quote), 403, "refused")

    assert leads.send("POST", f"/groups/{name}/members", {"user": member}).status_code == 200
    answer = works.send("POST", "/quotes", quote)
    assert (answer.status_code, answer.json()["account"]) == (200, name)
    assert name in {one["account"] for one in works.send("GET", "/balance").json()}
    assert [one["group"] for one in works.send("GET", "/groups").json()] == [name]
    assert works.send("GET", f"/groups/{name}").status_code == 200

    assert leads.send("DELETE", f"/groups/{name}/members/{member}").status_code == 204
    problem_of(works.send("POST", "/quotes", quote), 403, "refused")
    problem_of(works.submit(script), 403, "refused")
    assert name not in {one["account"] for one in works.send("GET", "/balance").json()}
    assert works.send("GET", "/groups").json() == []
    missing = problem_of(works.send("GET", f"/groups/{name}"), 404, "not_found")
    never = problem_of(works.send("GET", "/groups/never-was"), 404, "not_found")
    assert missing.detail.replace(name, "") == never.detail.replace("never-was", "")


def test_f16_leaders_manage_members_and_members_do_not(project, admin, stranger):
    """A member may leave and no more; who is not in it is not told that it is there; a leader stays."""
    name, leader, member, leads, works = project
    leads.send("POST", f"/groups/{name}/members", {"user": member})

    problem_of(works.send("POST", f"/groups/{name}/members", {"user": "demo"}), 403, "refused")
    problem_of(works.send("DELETE", f"/groups/{name}/members/{leader}"), 403, "refused")
    problem_of(stranger.send("POST", f"/groups/{name}/members", {"user": "stranger"}), 404, "not_found")
    problem_of(stranger.send("DELETE", f"/groups/{name}/members/{member}"), 404, "not_found")
    problem_of(leads.send("DELETE", f"/groups/{name}/members/{leader}"), 409, "conflict")
    problem_of(stranger.send("POST", "/groups", {"group": "mine"}), 403, "refused")
    assert works.send("DELETE", f"/groups/{name}/members/{member}").status_code == 204

    shown = admin.send("GET", f"/groups/{name}").json()
    assert (shown["account"], shown["members"]) == (name, [{"user": leader, "role": "leader"}])


def test_a_projects_name_is_no_other_accounts(admin):
    """Nor can a group take a name twice."""
    problem_of(admin.send("POST", "/groups", {"group": "demo", "project": True}), 409, "conflict")
    name = new_name("twice")
    assert admin.send("POST", "/groups", {"group": name}).status_code == 201
    problem_of(admin.send("POST", "/groups", {"group": name}), 409, "conflict")
