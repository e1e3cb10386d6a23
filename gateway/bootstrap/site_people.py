"""Site people: accounts for a site's users, and who of them is who, by whoever may read the gateway's own directory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.bootstrap.presence import password_file
from gateway.bootstrap.secret_file import kept
from gateway.engines.site_people import BY_ADMINISTRATOR, Link
from gateway.errors import InvalidRequest, SetupError
from gateway.identity.passwords import make_password
from gateway.identity.users import Role
from gateway.settings import CREDIT, Settings


def add_user(directory: Path, name: str, credits_given: float) -> dict[str, Any]:
    """An account for one of the site's users."""
    from gateway.bootstrap.people import people_of  # noqa: PLC0415 - the database takes a while to import

    settings = Settings.load(directory)
    file = password_file(settings, name)
    if not settings.secrets_dir.exists():
        raise SetupError(f"{directory} holds no gateway yet", hint=f"burst up --dir {directory}")
    with people_of(settings) as people:
        password = kept(file, lambda: make_password().encode()).decode()
        made = people(name, Role.USER, password, int(credits_given * CREDIT))
    return {"user": name, "new": made, "password_file": str(file)}


def people(directory: Path, link: tuple[str, str] | None = None, unlink: str | None = None) -> dict[str, Any]:
    """The table after linking a Unix name to a user, or unlinking one. Raises Conflict, NotFound, InvalidRequest."""
    from gateway.bootstrap.services import site_people  # noqa: PLC0415 - the server takes a second to import

    settings = Settings.load(directory)
    if settings.site is None:
        raise InvalidRequest(f"{directory} serves no site", hint="burst site install --slurm-conf FILE")
    table = site_people(settings)
    if link is not None:
        table.link(Link(*link, by=BY_ADMINISTRATOR))
    if unlink is not None:
        table.unlink(unlink)
    return {"people": [asdict(each) for each in table.links()], "same_names": settings.site.same_names}
