"""SitePeople: which user of the gateway a site's Unix user is, and by whose word.

Invariant: one to one. A name that somebody else is linked to is never taken for one's own, and a link is read anew
whenever the table changes, without a restart.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.errors import Conflict, InvalidRequest, NotFound

BY_SETTINGS = "burst.toml"
BY_ADMINISTRATOR = "administrator"
BY_BOTH = "its owner's signature and munge"
_NAME_MAX = 64


@dataclass(frozen=True)
class Link:
    """One Unix user of the site and one user of the gateway."""

    unix: str
    user: str
    by: str
    """Who said so: burst.toml, an administrator, or the owner of both."""
    evidence: str = ""
    """Digest of the signed request; "" without one."""


class SitePeople:
    """The table of one site. ``fixed``: burst.toml's; ``same_names``: who is not in it is the user of that name."""

    def __init__(self, file: Path, fixed: Mapping[str, str], *, same_names: bool) -> None:
        self._file = file
        self._fixed = fixed
        self._same_names = same_names
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int], tuple[Link, ...]] = ((0, 0), ())

    def links(self) -> tuple[Link, ...]:
        """All of them, by Unix name; what burst.toml says comes before the table."""
        fixed = [Link(unix, user, BY_SETTINGS) for unix, user in self._fixed.items()]
        said = {link.unix for link in fixed}
        return tuple(sorted([*fixed, *(link for link in self._table() if link.unix not in said)], key=lambda x: x.unix))

    def user_of(self, unix: str) -> str | None:
        """The gateway's user; None for somebody whom nobody has linked."""
        links = self.links()
        linked = next((link.user for link in links if link.unix == unix), None)
        free = self._same_names and unix not in {link.user for link in links}
        return linked or (unix if free else None)

    def unix_of(self, user: str) -> str | None:
        """The site's user as whom jobs of the gateway's ``user`` run; None where there is none."""
        links = self.links()
        linked = next((link.unix for link in links if link.user == user), None)
        free = self._same_names and user not in {link.unix for link in links}
        return linked or (user if free else None)

    def link(self, link: Link) -> None:
        """Add one; the same again is no error. Raises Conflict where either is linked to somebody else already."""
        if not all(0 < len(name) <= _NAME_MAX and name.isprintable() for name in (link.unix, link.user)):
            raise InvalidRequest("a name is empty or too long", hint="burst site people link UNIX_NAME USER")
        if link.unix == "root":
            raise InvalidRequest("no job of the gateway runs as root", hint="link an ordinary user")
        with self._lock:
            for known in self.links():
                if (known.unix, known.user) == (link.unix, link.user):
                    return
                if link.unix == known.unix or link.user == known.user:
                    words = f"{known.unix} is the gateway's {known.user} already, by {known.by}"
                    raise Conflict(words, hint=f"burst site people unlink {known.unix}")
            self._write([*self._table(), link])

    def unlink(self, unix: str) -> None:
        """Take one out. Raises NotFound, InvalidRequest for one of burst.toml's."""
        with self._lock:
            table = self._table()
            if unix not in {link.unix for link in table}:
                if unix in self._fixed:
                    raise InvalidRequest(f"{unix} is linked in burst.toml", hint="take it out of [site] users there")
                raise NotFound(f"{unix} is not linked", hint="burst site people shows who is")
            self._write([link for link in table if link.unix != unix])

    @property
    def unix_names(self) -> Mapping[str, str]:
        """The gateway's user → the site's, always as the table is now; "" for somebody who is nobody there."""
        return _UnixNames(self)

    def _table(self) -> tuple[Link, ...]:
        try:
            status = self._file.stat()
        except FileNotFoundError:
            return ()
        version = (status.st_mtime_ns, status.st_ino)
        if version != self._read[0]:
            self._read = (version, tuple(Link(**entry) for entry in json.loads(self._file.read_text())))
        return self._read[1]

    def _write(self, links: list[Link]) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps([asdict(link) for link in links], indent=1))
        temporary.replace(self._file)


class _UnixNames(Mapping[str, str]):
    def __init__(self, people: SitePeople) -> None:
        self._people = people

    def __getitem__(self, user: str) -> str:
        return self._people.unix_of(user) or ""

    def __iter__(self) -> Iterator[str]:
        return iter([link.user for link in self._people.links()])

    def __len__(self) -> int:
        return len(self._people.links())
