"""Landing: the public page of a publication, for people and for those who index it.

Invariant: it shows metadata only, escaped, and says how to get the bytes; it loads nothing from elsewhere.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from gateway.publishing.datacite import media_type
from gateway.publishing.record import Access, Publication, Record

_SHOWN = 200
"""Files on the page; the manifest has all of them."""


def html(publication: Publication, page: str) -> str:
    """The page; ``page`` is its own URL."""
    # A "<" inside a script element could end it.
    data = Markup(json.dumps(json_ld(publication, page), ensure_ascii=False).replace("<", "\\u003c"))  # noqa: S704
    record = publication.record
    return _template().render(
        publication=publication,
        record=record,
        page=page,
        citation=citation(publication),
        conditions=conditions(publication),
        json_ld=data,
        files=record.files[:_SHOWN],
        open=record.access is Access.OPEN,
    )


def json_ld(publication: Publication, page: str) -> dict[str, Any]:
    """The same as a schema.org Dataset."""
    record, doi = publication.record, f"https://doi.org/{publication.doi}"
    found: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Dataset",
        "@id": doi,
        "identifier": doi,
        "url": page,
        "name": record.title,
        "description": record.description or record.software,
        "creator": [_person(one.name, one.orcid) for one in record.creators],
        "publisher": {"@type": "Organization", "name": record.publisher},
        "datePublished": str(record.year),
        "dateCreated": record.computed_at.isoformat(),
        "isAccessibleForFree": record.access is Access.OPEN,
        "conditionsOfAccess": conditions(publication),
        "distribution": [
            {
                "@type": "DataDownload",
                "name": file.path,
                "contentUrl": f"{page}/files/{quote(file.path)}",
                "contentSize": f"{file.size} B",
                "encodingFormat": media_type(file.path),
                "sha256": file.sha256,
            }
            for file in record.files
        ],
    }
    return found | ({"license": f"https://spdx.org/licenses/{record.licence}.html"} if record.licence else {})


def manifest(publication: Publication) -> dict[str, Any]:
    """Every file with its size and SHA-256, and the digest of the job's own manifest."""
    record = publication.record
    files = [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in record.files]
    return {"doi": publication.doi, "manifest_sha256": record.manifest_sha256, "files": files}


def citation(publication: Publication) -> str:
    """As DataCite recommends: creators (year): title. publisher. DOI."""
    record = publication.record
    people = "; ".join(one.name for one in record.creators)
    return f"{people} ({record.year}): {record.title}. {record.publisher}. https://doi.org/{publication.doi}"


def conditions(publication: Publication) -> str:
    """Who may have the bytes, and how to ask."""
    if publication.record.access is Access.OPEN:
        return "The files are open to everybody."
    return f"The files are restricted. {how_to_ask(publication)}"


def how_to_ask(publication: Publication) -> str:
    """What somebody without a grant does."""
    record: Record = publication.record
    who = f"Ask {record.creators[0].name}, or {publication.user} at this gateway, to grant you access"
    return (
        f"{who}: burst share grant {publication.id} YOUR-USER. Then: burst login, burst share fetch {publication.id}."
    )


def _person(name: str, orcid: str | None) -> dict[str, str]:
    return {"@type": "Person", "name": name} | ({"@id": f"https://orcid.org/{orcid}"} if orcid else {})


@cache
def _template() -> Template:
    text = Path(__file__).with_name("landing.html.j2").read_text()
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        text
    )
