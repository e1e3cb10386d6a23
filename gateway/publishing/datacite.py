"""DataCite: a record as DataCite's metadata (schema 4.5), and its REST API, as far as a DOI is made findable.

Invariant: metadata that does not validate is never sent; every call names its DOI and can be repeated; what counts is
the state that the registry answers, because it passes over an event that it does not like without an error.

Sources: the schema in the ``datacite`` package; https://support.datacite.org/docs/api-create-dois
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from gateway.errors import DoiRefused, DoiUnavailable, InvalidRequest
from gateway.publishing.record import Access, Creator, Publication, PublicationState, Record

MEDIA_TYPE: Final = "application/vnd.api+json"
_ACCESS_RIGHTS: Final = {
    Access.OPEN: ("open access", "http://purl.org/coar/access_right/c_abf2"),
    Access.RESTRICTED: ("restricted access", "http://purl.org/coar/access_right/c_16ec"),
}
_FIRST_SERVER_ERROR = 500
_TOO_MANY = 429


@dataclass(frozen=True)
class DataCite:
    """A repository account of DataCite, or of what speaks its API."""

    url: str
    prefix: str
    repository: str
    password: str = field(repr=False)
    patience_s: float = 30.0

    def put(self, publication: Publication, page: str, *, event: str | None = None) -> str:
        """Create or update the DOI; ``event`` "publish" makes it findable. Its state afterwards.

        Raises DoiUnavailable (a retry can help; the DOI may be there), DoiRefused with the registry's words.
        """
        wanted = attributes(publication, page) | ({"event": event} if event else {})
        body = {"data": {"id": publication.doi, "type": "dois", "attributes": wanted}}
        answer = self._ask("PUT", f"/dois/{publication.doi}", body)
        return str(answer.get("data", {}).get("attributes", {}).get("state", ""))

    def _ask(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE}
        try:
            with httpx2.Client(base_url=self.url, timeout=self.patience_s) as http:
                answer = http.request(method, path, json=body, headers=headers, auth=(self.repository, self.password))
        except httpx2.TransportError as error:
            hint = "publish it again: the same DOI is found"
            raise DoiUnavailable(f"DataCite did not answer: {error or type(error).__name__}", hint=hint) from error
        if answer.is_success:
            return _json(answer)
        if answer.status_code >= _FIRST_SERVER_ERROR or answer.status_code == _TOO_MANY:
            raise DoiUnavailable(f"DataCite answered {answer.status_code}.", hint="publish it again later")
        raise DoiRefused(
            f"DataCite refused it ({answer.status_code}): {_words(answer)}", hint=_hint(answer.status_code)
        )


def attributes(publication: Publication, page: str) -> dict[str, Any]:
    """The DOI's metadata, which validates; ``page`` is the landing page's URL. Raises InvalidRequest."""
    from datacite import schema45  # noqa: PLC0415 - a third of a second that a starting gateway need not pay

    metadata = _metadata(publication, page)
    fault = next(iter(schema45.validator.iter_errors(metadata)), None)
    if fault is not None:
        where = ".".join(map(str, fault.absolute_path)) or "the metadata"
        raise InvalidRequest(f"{where} is not as DataCite's schema 4.5 has it: {fault.message}", hint="mend it")
    return metadata


def _metadata(publication: Publication, page: str) -> dict[str, Any]:
    record = publication.record
    return {
        "doi": publication.doi,
        "url": page,
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Outputs of a simulation"},
        "creators": [_creator(one) for one in record.creators],
        "titles": [{"title": record.title}],
        "publisher": {"name": record.publisher},
        "publicationYear": str(record.year),
        "dates": [{"date": record.computed_at.strftime("%Y-%m-%dT%H:%M:%SZ"), "dateType": "Created"}],
        "alternateIdentifiers": [
            {"alternateIdentifier": record.job, "alternateIdentifierType": "Burst Gateway job"},
            {"alternateIdentifier": record.manifest_sha256, "alternateIdentifierType": "SHA-256 of the manifest"},
        ],
        "relatedIdentifiers": [
            {
                "relatedIdentifier": f"{page}/manifest.json",
                "relatedIdentifierType": "URL",
                "relationType": "HasMetadata",
            },
            *(
                {
                    "relatedIdentifier": one.identifier,
                    "relatedIdentifierType": one.kind,
                    "relationType": one.relation,
                }
                for one in record.related
            ),
        ],
        "sizes": [f"{len(record.files)} files", f"{record.bytes} bytes"],
        "formats": formats(record),
        "version": "1",
        "rightsList": _rights(record),
        "descriptions": [
            *([{"description": record.description, "descriptionType": "Abstract"}] if record.description else []),
            {"description": record.software, "descriptionType": "TechnicalInfo"},
        ],
        "schemaVersion": "http://datacite.org/schema/kernel-4",
    }


def formats(record: Record) -> list[str]:
    """The media types of the files, by their names."""
    return sorted({media_type(file.path) for file in record.files})


def media_type(path: str) -> str:
    """Of a file, by its name; Slurm's own output files are text."""
    return "text/plain" if path.endswith(".out") else mimetypes.guess_type(path)[0] or "application/octet-stream"


def _creator(one: Creator) -> dict[str, Any]:
    family, comma, given = (part.strip() for part in one.name.partition(","))
    facts: dict[str, Any] = {"name": one.name, "nameType": "Personal"}
    if comma and given:
        facts |= {"familyName": family, "givenName": given}
    if one.orcid:
        identifier = {
            "nameIdentifier": f"https://orcid.org/{one.orcid}",
            "nameIdentifierScheme": "ORCID",
            "schemeUri": "https://orcid.org",
        }
        facts["nameIdentifiers"] = [identifier]
    return facts


def _rights(record: Record) -> list[dict[str, Any]]:
    words, uri = _ACCESS_RIGHTS[record.access]
    found: list[dict[str, Any]] = [{"rights": words, "rightsUri": uri}]
    if record.licence:
        licence = {
            "rights": record.licence,
            "rightsUri": f"https://spdx.org/licenses/{record.licence}.html",
            "rightsIdentifier": record.licence,
            "rightsIdentifierScheme": "SPDX",
            "schemeUri": "https://spdx.org/licenses/",
        }
        found.append(licence)
    return found


def is_findable(state: str) -> bool:
    """Whether the registry says so."""
    return state == PublicationState.FINDABLE


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DoiUnavailable("What answers at datacite_url is not DataCite's API.", hint="check datacite_url")
    return found


def _words(answer: httpx2.Response) -> str:
    try:
        faults = answer.json()["errors"]
        return "; ".join(": ".join(str(one[key]) for key in ("source", "title") if one.get(key)) for one in faults)
    except (ValueError, KeyError, TypeError, AttributeError):
        return answer.reason_phrase


def _hint(status: int) -> str:
    if status in {401, 403}:
        return "an administrator checks datacite_repository, datacite_password_file and datacite_prefix"
    return "mend what it names, then publish again"
