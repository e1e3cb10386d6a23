"""Publish: a job's outputs are frozen, and their DOI goes from intent to draft to findable.

Invariant: the publication's files are copies that nobody has a URL to write to, each checked against the manifest
after it was copied; each step can be repeated, and none is left out.
"""

from __future__ import annotations

from gateway.errors import DoiRefused
from gateway.publishing.datacite import DataCite, is_findable
from gateway.publishing.record import Publication, PublicationState


def key_of(publication_id: str, sha256: str) -> str:
    """Where a publication's copy of a file lies: equal files are one."""
    return f"publications/{publication_id}/{sha256}"


def draft(registry: DataCite, publication: Publication, page: str) -> PublicationState:
    """The registry knows the DOI and its metadata. The state that it is in."""
    state = registry.put(publication, page)
    return PublicationState.FINDABLE if is_findable(state) else PublicationState.DRAFT


def make_findable(registry: DataCite, publication: Publication, page: str) -> None:
    """The DOI is in the public index. Raises DoiRefused when the registry leaves it as it was."""
    state = registry.put(publication, page, event="publish")
    if not is_findable(state):
        raise DoiRefused(f"DataCite left {publication.doi} {state or 'as it was'}.", hint="see its entry at DataCite")
