"""Shares: whom a user's outputs are shared with, and links, from the client's side.

Invariant: the secret of a link goes over the wire in the body of a POST and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from gateway import wire
from gateway.client.session import Session, post_unsigned
from gateway.errors import OptionError

_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Shares:
    """What one user shares. Every method raises the gateway's own errors."""

    session: Session

    def rules(self, job: str) -> tuple[wire.ShareView, ...]:
        """The rules about a job's outputs."""
        return self.session.get(f"/jobs/{_part(job)}/shares", tuple[wire.ShareView, ...])

    def share(self, job: str, rule: wire.ShareRequest) -> wire.ShareView:
        """Set a rule."""
        return self.session.post(f"/jobs/{_part(job)}/shares", rule, wire.ShareView)

    def unshare(self, job: str, path: str, subject: str) -> None:
        """Take a rule away."""
        query = f"?{urlencode({'path': path})}" if path else ""
        self.session.request("DELETE", f"/jobs/{_part(job)}/shares/{_part(subject)}{query}")

    def given(self) -> tuple[wire.ShareView, ...]:
        """What others share with the user."""
        return self.session.get("/shares", tuple[wire.ShareView, ...])

    def link(self, job: str, path: str, expires_s: int) -> wire.NewLink:
        """A new link; its secret is told now and never again."""
        body = wire.LinkRequest(path=path, expires_s=expires_s)
        return self.session.post(f"/jobs/{_part(job)}/links", body, wire.NewLink)

    def links(self) -> tuple[wire.LinkView, ...]:
        """The user's links."""
        return self.session.get("/links", tuple[wire.LinkView, ...])

    def revoke_link(self, link: str) -> None:
        """End a link."""
        self.session.request("DELETE", f"/links/{_part(link)}")

    def outputs(self, job: str, path: str) -> wire.Outputs:
        """The files of a job below ``path`` that the user may have."""
        query = f"?{urlencode({'path': path})}" if path else ""
        return self.session.get(f"/jobs/{_part(job)}/outputs{query}", wire.Outputs)


def open_link(url: str, path: str | None = None) -> wire.LinkedFiles:
    """What a link opens; nobody need be logged in. Raises OptionError for what is no link, Refused."""
    parts = urlsplit(url.strip())
    match = re.fullmatch(r"(?P<base>/.*)?/shared/(?P<id>[0-9a-f]{16})", parts.path)
    if match is None or not parts.fragment or not parts.netloc:
        raise OptionError(
            "that is no link of a gateway", option="--link", exit_code=2, hint="copy all of it, with what follows the #"
        )
    base = f"{parts.scheme}://{parts.netloc}{match['base'] or ''}"
    body = wire.OpenRequest(secret=parts.fragment, path=path)
    return post_unsigned(base, f"/shared/{match['id']}", body, wire.LinkedFiles, patience_s=_PATIENCE_S)


def _part(text: str) -> str:
    return quote(text, safe="")
