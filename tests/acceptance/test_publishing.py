"""Publishing: a job's outputs get a DOI that is findable, a page that is public, and bytes that need a grant.

One gateway with process nodes, and a registry over real HTTP that has DataCite's own rules.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from datacite import schema45
from datacite_registry import MEDIA_TYPE, DataCiteRegistry, datacite_registry
from gateway_site import Answer, Site

from gateway.wire import JobView

PREFIX = "10.12345"
ACCOUNT = ("LAB.GATE", "s3cret")
SCRIPT = "#SBATCH --time=1 --output=run.out\nmkdir results\necho 1.618 > results/phi.csv\necho '<b>done</b>'"
CREATORS = ("--creator", "Lovelace, Ada <0000-0002-1825-0097>", "--creator", "Byron & Sons")


@pytest.fixture(scope="module")
def registry() -> Iterator[DataCiteRegistry]:
    """With our repository, and another that owns another prefix."""
    with datacite_registry(LAB__GATE=(ACCOUNT[1], (PREFIX,)), OTHER__ONE=("other", ("10.54321",))) as running:
        yield running


@pytest.fixture(scope="module")
def site(
    module_site: Callable[..., Site], registry: DataCiteRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Site:
    """Set up as an administrator would."""
    password = tmp_path_factory.mktemp("datacite") / "password"
    password.write_text(ACCOUNT[1] + "\n")
    running = module_site(
        nodes="process",
        idle_s=60,
        datacite_url=registry.url,
        datacite_prefix=PREFIX,
        datacite_repository=ACCOUNT[0],
        datacite_password_file=password,
        publisher="Lab of Waves",
    )
    for name in ("ada", "bob"):
        running.add_user(name)
    return running


def job_of(site: Site, script: str = SCRIPT, *options: str) -> JobView:
    """A settled job of ada's."""
    return site.finish(site.submit(script, *options, user="ada"), "ada")


def publish(site: Site, job: JobView, *words: str, user: str = "ada") -> Answer:
    """The command, as typed."""
    title = () if "--title" in words else ("--title", "Golden <ratio>")
    return site.burst("publish", str(job.id), "--json", *title, *CREATORS, *words, user=user)


@pytest.fixture(scope="module")
def restricted(site: Site) -> dict[str, str]:
    """A publication of ada's whose bytes need a grant."""
    answer = publish(site, job_of(site), "--licence", "CC-BY-4.0", "--related", "IsDerivedFrom=10.5281/zenodo.1")
    assert answer.code == 0, answer.err
    return dict(answer.json)


def path_of(view: dict[str, str]) -> str:
    """Its page's path."""
    return f"/doi/{view['doi']}"


def test_a_published_job_has_a_findable_doi_with_valid_metadata(
    site: Site, registry: DataCiteRegistry, restricted: dict[str, str]
) -> None:
    """Draft first, then findable; what anybody reads at the registry validates and is the job's."""
    doi = restricted["doi"]

    shown = httpx2.get(f"{registry.url}/dois/{doi}").json()["data"]["attributes"]

    assert restricted["state"] == shown.pop("state") == "findable"
    assert [asked for asked in registry.asked if asked == ("PUT", f"/dois/{doi}")] == [("PUT", f"/dois/{doi}")] * 2
    assert schema45.validate(shown)
    assert shown["creators"][0]["nameIdentifiers"][0]["nameIdentifier"] == "https://orcid.org/0000-0002-1825-0097"
    assert shown["publisher"] == {"name": "Lab of Waves"}
    assert shown["url"] == f"{site.url}{path_of(restricted)}"
    assert shown["sizes"] == ["2 files", f"{restricted['bytes']} bytes"]
    assert shown["formats"] == ["text/csv", "text/plain"]
    assert {
        "relationType": "IsDerivedFrom",
        "relatedIdentifier": "10.5281/zenodo.1",
        "relatedIdentifierType": "DOI",
    } in (shown["relatedIdentifiers"])
    identifiers = {one["alternateIdentifierType"]: one["alternateIdentifier"] for one in shown["alternateIdentifiers"]}
    assert identifiers["SHA-256 of the manifest"] == restricted["manifest_sha256"]
    assert "run by Slurm on small-" in json.dumps(shown["descriptions"])
    assert any(right.get("rightsUri", "").endswith("c_16ec") for right in shown["rightsList"])


def test_the_landing_page_is_public_and_can_be_indexed(site: Site, restricted: dict[str, str]) -> None:
    """What DataCite's link checker looks for, without a login; text of users is text."""
    answer = httpx2.get(site.url + path_of(restricted))
    page, doi = answer.text, f"https://doi.org/{restricted['doi']}"
    (found,) = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page, re.DOTALL)
    data = json.loads(found)
    other = httpx2.get(site.url + path_of(restricted), headers={"Accept": "application/ld+json"}).json()

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert f'<meta name="DC.identifier" content="{doi}">' in page
    assert f'<meta name="citation_doi" content="{restricted["doi"]}">' in page
    assert page.count(doi) >= 3
    assert (data["@id"], data["@type"], data["isAccessibleForFree"]) == (doi, "Dataset", False)
    assert data == other
    assert "<ratio>" not in page
    assert "Golden &lt;ratio&gt;" in page
    assert "Byron &amp; Sons" in page
    assert "burst share grant" in page
    assert {file["name"] for file in data["distribution"]} == {"results/phi.csv", "run.out"}


def test_bytes_need_a_grant(site: Site, restricted: dict[str, str], tmp_path: Path) -> None:
    """Nobody, and another user, is refused with how to ask; with a grant bob has the bytes; without it, no more."""
    file = f"{site.url}{path_of(restricted)}/files/results/phi.csv"
    anonymous = httpx2.get(file)
    before = site.burst("share", "fetch", restricted["doi"], "--to", str(tmp_path / "no"), user="bob")
    forbidden = site.burst("share", "grant", restricted["doi"], "bob", user="bob")
    granted = site.burst("share", "grant", restricted["doi"], "bob", "--json", user="ada")
    after = site.burst("share", "fetch", restricted["doi"], "--to", str(tmp_path / "yes"), user="bob")
    with site.login("bob") as gateway:
        signed = gateway.session.get(f"/publications/{restricted['id']}/files", dict)
    revoked = site.burst("share", "revoke", restricted["id"], "bob", user="ada")
    again = site.burst("share", "fetch", restricted["doi"], "--to", str(tmp_path / "never"), user="bob")

    assert (anonymous.status_code, anonymous.json()["code"]) == (403, "refused")
    assert "Ask Lovelace, Ada, or ada at this gateway" in anonymous.json()["hint"]
    assert "location" not in anonymous.headers
    assert (before.code, forbidden.code) == (1, 1)
    assert "burst share grant" in before.complaint
    assert granted.json["readers"] == ["bob"]
    assert after.code == 0, after.err
    assert (tmp_path / "yes/results/phi.csv").read_text() == "1.618\n"
    assert {one["sha256"] for one in signed["files"]} >= {hashlib.sha256(b"1.618\n").hexdigest()}
    assert revoked.code == 0, revoked.err
    assert again.code == 1
    assert not (tmp_path / "never").exists()


def test_an_open_publication_is_everybodys(site: Site) -> None:
    """Chosen when it is published: a plain GET ends with the bytes."""
    view = publish(site, job_of(site, "echo open > it.txt"), "--access", "open").json

    answer = httpx2.get(f"{site.url}{path_of(view)}/files/it.txt", follow_redirects=True)
    none = httpx2.get(f"{site.url}{path_of(view)}/files/../../etc/passwd")
    listed = httpx2.get(f"{site.url}{path_of(view)}/manifest.json").json()

    assert (answer.status_code, answer.text) == (200, "open\n")
    assert none.status_code == 404
    assert {file["path"] for file in listed["files"]} >= {"it.txt"}


@pytest.mark.parametrize("heard", [0, 1], ids=["of the draft", "of the event"])
def test_a_lost_reply_makes_no_second_doi(site: Site, registry: DataCiteRegistry, heard: int) -> None:
    """Given a registry that acts and is not heard, when it is published again, the same DOI is found and findable."""
    job = job_of(site, f"echo {heard} > it.txt")
    before = registry.created
    registry.heard_first, registry.lost_replies = heard, 1
    failed = publish(site, job)
    kept = registry.created - before

    view = publish(site, job).json
    again = publish(site, job).json

    assert failed.code == 1
    assert "publish it again: the same DOI is found" in failed.complaint
    assert kept == registry.created - before == 1
    assert registry.state(view["doi"]) == "findable"
    assert again["doi"] == view["doi"]


def test_a_publication_does_not_change(site: Site, restricted: dict[str, str]) -> None:
    """Neither by other words for the same job, nor by a job that still has a URL to its outputs."""
    with site.work() as work:
        made = work.publications.get(restricted["id"])
        (attempt,) = work.jobs.attempts(made.job)
        part = work.jobs.parts(attempt)[0].files[0]
    job = site.login("ada").job(made.job)

    other = publish(site, job, "--title", "Another title")
    site.store.put_bytes(attempt.prefix + str(part["key"]), b"forged")
    (copy,) = [file for file in made.record.files if file.path == part["path"]]

    assert other.code == 1
    assert "a publication does not change" in other.complaint
    assert hashlib.sha256(site.store.get_bytes(copy.key)).hexdigest() == copy.sha256


def test_outputs_that_were_changed_are_not_published(site: Site, registry: DataCiteRegistry) -> None:
    """Given an object that is not what the manifest says, nothing becomes findable."""
    job = job_of(site, "echo true > it.txt")
    with site.work() as work:
        (attempt,) = work.jobs.attempts(job.burst_id)
        key = next(str(file["key"]) for file in work.jobs.parts(attempt)[0].files if file["path"] == "it.txt")
    site.store.put_bytes(attempt.prefix + key, b"false\n")
    before = registry.created

    answer = publish(site, job)

    assert answer.code == 1
    assert "is not what was staged out" in answer.complaint
    assert registry.created == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--creator", "Ada <0000-0002-1825-0098>"), "is not an ORCID iD"),
        (("--related", "Likes=10.1234/x"), "is not a relation"),
        (("--related", "IsPartOf=x/y/zzz"), "neither a DOI nor a URL"),
        (("--licence", "no licence"), "see burst publish --help"),
    ],
)
def test_what_cannot_be_published_is_refused_in_a_line(site: Site, words: tuple[str, ...], said: str) -> None:
    """Before anything is asked of the registry."""
    with site.login("ada") as gateway:
        job = next(gateway.jobs(limit=1))

    answer = publish(site, job, *words)

    assert answer.code != 0
    assert said in answer.complaint


def test_only_the_owner_publishes(site: Site, restricted: dict[str, str]) -> None:
    """Another's job is not found, and an unknown DOI has no page."""
    with site.login("ada") as gateway:
        job = gateway.job(restricted["job"])

    answer = publish(site, job, user="bob")

    assert answer.code == 1
    assert "There is no job" in answer.complaint
    assert httpx2.get(f"{site.url}/doi/{PREFIX}/aaaaaaaaaaaaaaaa").status_code == 404


def test_the_registry_keeps_datacites_rules(registry: DataCiteRegistry) -> None:
    """The stand-in itself: who may, what is well-formed, which way states go."""
    headers = {"Content-Type": MEDIA_TYPE}

    def ask(method: str, doi: str, auth: tuple[str, str] | None = ACCOUNT, **wanted: object) -> httpx2.Response:
        body = json.dumps({"data": {"type": "dois", "attributes": wanted}})
        return httpx2.request(method, f"{registry.url}/dois/{doi}", content=body, headers=headers, auth=auth)

    whole = {
        "url": "https://example.org/x",
        "creators": [{"name": "A"}],
        "titles": [{"title": "T"}],
        "publisher": {"name": "P"},
        "publicationYear": "2026",
        "types": {"resourceTypeGeneral": "Dataset"},
        "schemaVersion": "http://datacite.org/schema/kernel-4",
    }
    mine = f"{PREFIX}/rules"
    steps: list[dict[str, object]] = [{"event": "hide"}, {"event": "register", **whole}]
    steps += [{"event": event} for event in ("publish", "register", "hide")]
    states = [ask("PUT", mine, **wanted).json()["data"]["attributes"]["state"] for wanted in steps]

    assert states == ["draft", "registered", "findable", "findable", "registered"]
    assert ask("PUT", mine, None).status_code == 401
    assert ask("PUT", mine, ("OTHER.ONE", "other")).status_code == 403
    assert ask("PUT", f"{PREFIX}/bl{{}}ank").status_code == 422
    assert ask("PUT", f"{PREFIX}/u", url="nowhere").json()["errors"][0]["source"] == "url"
    missing = ask("PUT", f"{PREFIX}/m", event="publish", **{**whole, "titles": []})
    assert (missing.status_code, missing.json()["errors"][0]["source"]) == (422, "titles")
    assert ask("DELETE", mine).status_code == 405
    assert httpx2.get(f"{registry.url}/dois/{mine}").status_code == 404
    assert ask("PUT", f"{PREFIX}/d").status_code == 201
    assert ask("DELETE", f"{PREFIX}/d").status_code == 204
