"""ExternalStore: a bucket of a store that somebody else runs: AWS, Ceph's object gateway, any S3 server.

Invariant: the gateway neither makes nor removes it; its keys are read from a file of mode 0600 and go nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gateway.errors import SetupError, StoreError
from gateway.settings import Settings
from gateway.staging.object_store import S3Store, StoreAccess
from gateway.staging.store_roles import RoleNames, StoreRoles

ACCESS_FILE: Final = "store-access.json"
_OTHERS = 0o077
_FORM = '{"access_key": "…", "secret_key": "…", "principal": "arn:aws:iam:::user/gw"}'


class ExternalStore:
    """The store that ``store = "s3"`` names; it has the methods of ``EmbeddedStore``, most with nothing to do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = settings.secrets_dir / ACCESS_FILE

    def start(self, addresses: Sequence[str] = ()) -> None:  # noqa: ARG002 - others serve it
        """See that the bucket is there and may be written. Raises SetupError."""
        place = self._settings.store_endpoint or "AWS"
        try:
            there = self.open().has_bucket()
        except StoreError as error:
            hint = f"check store_endpoint, store_region and the keys in {self._file}"
            raise SetupError(f"The object store at {place} cannot be used: {error.detail}", hint=hint) from error
        if not there:
            hint = "make it, or name another: --set store_bucket=NAME"
            raise SetupError(f"The object store at {place} has no bucket {self._settings.store_bucket}.", hint=hint)

    def heal(self) -> bool:
        """Nothing of ours can have died."""
        return False

    def stop(self) -> None:
        """It goes on without us."""

    @property
    def access(self) -> StoreAccess:
        """How to reach it. Raises SetupError."""
        keys = self._keys()
        endpoint = self._settings.store_endpoint
        return StoreAccess(
            bucket=self._settings.store_bucket,
            user_endpoint=endpoint,
            node_endpoint=self._settings.store_node_endpoint or endpoint,
            access_key=keys["access_key"],
            secret_key=keys["secret_key"],
            region=self._settings.store_region,
        )

    def open(self) -> S3Store:
        """Its bucket."""
        return S3Store(self.access)

    def roles(self, secret: bytes, site: str) -> StoreRoles | None:
        """What gives jobs keys of their own; None where the settings say that the store cannot. Raises SetupError."""
        if not self._settings.store_job_keys:
            return None
        roles = StoreRoles(self.access, RoleNames(secret, site), self._keys().get("principal"))
        roles.check()
        return roles

    def _keys(self) -> dict[str, str]:
        return _read(self._file)


def _read(path: Path) -> dict[str, str]:
    hint = f"write {_FORM} into it, then chmod 600 {path}"
    try:
        others = path.stat().st_mode & _OTHERS
        content: Any = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise SetupError(f"There is no {path} with the object store's keys.", hint=hint) from error
    except ValueError as error:
        raise SetupError(f"{path} is no JSON.", hint=hint) from error
    if others:
        raise SetupError(f"Others can read the object store's keys in {path}.", hint=f"chmod 600 {path}")
    known = {"access_key", "secret_key", "principal"}
    complete = isinstance(content, dict) and {"access_key", "secret_key"} <= content.keys() <= known
    if not complete or not all(isinstance(value, str) and value for value in content.values()):
        raise SetupError(f"{path} does not hold the object store's keys.", hint=hint)
    return dict(content)
