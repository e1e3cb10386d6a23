"""Record: what is published of a job; a citation, its files by digest, and who may read them.

Invariant: a record is built from the job's own manifest, and once it is findable nothing in it changes; a DOI follows
from gateway, job and manifest, so that asking twice never makes two.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from gateway.errors import InvalidRequest

_CREATOR = re.compile(
    r"\s*([^<>]{1,200}?)\s*(?:<(?:https://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])>)?\s*", re.ASCII
)
_RELATED = re.compile(r"([A-Za-z]{3,30})=(\S{4,300})")
_DOI = re.compile(r"10\.\d{4,9}/\S+")

RELATIONS = frozenset({
    "Cites", "IsSupplementTo", "IsSupplementedBy", "IsDerivedFrom", "IsSourceOf", "References", "IsReferencedBy",
    "Requires", "IsRequiredBy", "IsCompiledBy", "IsVersionOf", "HasVersion", "IsPartOf", "HasPart", "IsDocumentedBy",
})  # fmt: skip
"""DataCite's relation types that fit outputs of a job (schema 4.5, appendix 1)."""


class Access(StrEnum):
    """Who may read the bytes; the metadata is everybody's."""

    OPEN = "open"
    RESTRICTED = "restricted"


class PublicationState(StrEnum):
    """How far its DOI is."""

    INTENT = "intent"
    """Written down here; the registry may or may not know it."""
    DRAFT = "draft"
    FINDABLE = "findable"


@dataclass(frozen=True)
class Creator:
    """A person, as cited ("Lovelace, Ada"); ``orcid`` with its hyphens."""

    name: str
    orcid: str | None = None


@dataclass(frozen=True)
class Related:
    """Something else that has a DOI or a URL."""

    relation: str
    identifier: str

    @property
    def kind(self) -> str:
        """DataCite's relatedIdentifierType."""
        return "DOI" if _DOI.fullmatch(self.identifier) else "URL"


@dataclass(frozen=True)
class PublishedFile:
    """One file: ``key`` is where the publication's own copy lies in the store."""

    path: str
    size: int
    sha256: str
    key: str


@dataclass(frozen=True)
class Record:
    """What is said of the outputs of one job."""

    title: str
    creators: tuple[Creator, ...]
    description: str
    publisher: str
    year: int
    access: Access
    licence: str | None
    """SPDX identifier."""
    related: tuple[Related, ...]
    files: tuple[PublishedFile, ...]
    manifest_sha256: str
    job: str
    computed_at: datetime
    software: str
    """What computed it, as a sentence: scheduler, job, nodes, how it ended."""

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(file.size for file in self.files)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"computed_at": self.computed_at.isoformat(), "access": self.access.value}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Record:
        """The record that ``document()`` gave."""
        facts = {
            **document,
            "creators": tuple(Creator(**one) for one in document["creators"]),
            "related": tuple(Related(**one) for one in document["related"]),
            "files": tuple(PublishedFile(**one) for one in document["files"]),
            "access": Access(document["access"]),
            "computed_at": datetime.fromisoformat(document["computed_at"]),
        }
        return cls(**facts)


@dataclass(frozen=True)
class Publication:
    """A record and its DOI; ``id`` is the DOI's suffix."""

    id: str
    doi: str
    job: str
    user: str
    state: PublicationState
    record: Record
    authorisation: str
    at: datetime


class Publications(Protocol):
    """The stored publications, inside one transaction of the database."""

    def keep(self, publication: Publication) -> None:
        """Keep it, in place of the one of the same job unless that is findable. Raises Conflict."""

    def get(self, publication_id: str) -> Publication:
        """By its id. Raises NotFound."""

    def of_job(self, job: str) -> Publication | None:
        """That of a job."""

    def of_user(self, user: str | None) -> tuple[Publication, ...]:
        """Those of a user, or all, newest first."""

    def grant(self, publication_id: str, user: str, by: str, authorisation: str, now: datetime) -> None:
        """Let a user read the files; doing it again is no error."""

    def revoke(self, publication_id: str, user: str) -> None:
        """Take it back. Raises NotFound."""

    def readers(self, publication_id: str) -> tuple[str, ...]:
        """The users who were granted to read, by name."""


def creator(text: str) -> Creator:
    """The creator of "Lovelace, Ada <0000-0002-1825-0097>". Raises InvalidRequest, also for a mistyped ORCID iD."""
    match = _CREATOR.fullmatch(text)
    if match is None:
        raise InvalidRequest(f"{text!r} is not a creator.", hint="write 'Family, Given <ORCID iD>'", field="creators")
    if match[2] and not _is_orcid(match[2]):
        raise InvalidRequest(f"{match[2]} is not an ORCID iD.", hint="its last digit is a check: see orcid.org")
    return Creator(match[1], match[2])


def related(text: str) -> Related:
    """The relation of "IsDerivedFrom=10.1234/abc". Raises InvalidRequest."""
    match = _RELATED.fullmatch(text)
    if match is None or match[1] not in RELATIONS:
        hint = f"write RELATION=DOI or RELATION=URL; there are {', '.join(sorted(RELATIONS))}"
        raise InvalidRequest(f"{text!r} is not a relation.", hint=hint, field="related")
    identifier = match[2].removeprefix("https://doi.org/")
    if not _DOI.fullmatch(identifier) and not identifier.startswith(("http://", "https://")):
        raise InvalidRequest(f"{identifier} is neither a DOI nor a URL.", hint="10.1234/abc", field="related")
    return Related(match[1], identifier)


def suffix(gateway: str, job: str, manifest_sha256: str) -> str:
    """The DOI suffix of a job's outputs: opaque, and always the same for the same job and manifest."""
    digest = hashlib.sha256(f"{gateway}\0{job}\0{manifest_sha256}".encode()).digest()
    return base64.b32encode(digest[:10]).decode().lower()


def _is_orcid(text: str) -> bool:
    """ISO 7064 MOD 11-2, as ORCID has it."""
    total = 0
    plain = text.replace("-", "")
    for digit in plain[:-1]:
        total = (total + int(digit)) * 2
    return "0123456789X"[(12 - total % 11) % 11] == plain[-1]


def digest_of(texts: Iterable[str]) -> str:
    """SHA-256, hex, of texts in their order."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
