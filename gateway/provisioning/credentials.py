"""Credentials: the file with which the gateway may use a cloud, and what else a cloud's settings must have.

Invariant: a credential is read from a file that nobody else may read, and is in no message; it is read anew whenever a
cloud is logged in to, so that a renewed one counts without a restart.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.errors import SetupError
from gateway.provisioning.node import Size
from gateway.settings import CloudSettings, Settings

TIMEOUT_S = 60
"""Seconds that a cloud may take for an answer; after that the outcome is unknown."""


def credential(cloud: CloudSettings, settings: Settings, *alternatives: tuple[str, ...]) -> Mapping[str, str]:
    """The cloud's credential file: a JSON object that has all keys of one alternative. Raises SetupError."""
    path = settings.secrets_dir / (cloud.credential or f"{cloud.name}.json")
    wanted = " or ".join(", ".join(keys) for keys in alternatives)
    hint = f"write {path}, mode 0600: a JSON object with {wanted}"
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SetupError(f"cloud {cloud.name}: others may read {path}", hint=f"run: chmod 600 {path}")
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SetupError(f"cloud {cloud.name}: no credential: {error}", hint=hint) from None
    if not isinstance(found, dict) or not any(set(keys) <= set(found) for keys in alternatives):
        raise SetupError(f"cloud {cloud.name}: its credential lacks something", hint=hint)
    return {key: str(text) for key, text in found.items()}


def sizes_of(cloud: CloudSettings) -> tuple[Size, ...]:
    """The price book of a cloud."""
    return tuple(
        Size(size.name, size.cores, size.memory_mb, size.gpus, size.price_ucr_per_hour) for size in cloud.sizes
    )


def needed(cloud: CloudSettings, name: str) -> str:
    """A setting that this kind of cloud cannot do without. Raises SetupError."""
    if not (value := getattr(cloud, name)):
        raise SetupError(f"cloud {cloud.name}: kind {cloud.kind} needs {name}", hint="set it in burst.toml")
    return str(value)


def options(cloud: CloudSettings, *known: str) -> Mapping[str, Any]:
    """The cloud's ``options``, all of which are among ``known``. Raises SetupError."""
    if unknown := sorted(set(cloud.options) - set(known)):
        raise SetupError(
            f"cloud {cloud.name}: kind {cloud.kind} has no option {unknown[0]}", hint=f"it has {', '.join(known)}"
        )
    return cloud.options


def server(endpoint: str | None) -> dict[str, Any]:
    """The arguments of a libcloud driver for another server than the cloud's own."""
    if endpoint is None:
        return {}
    url = urlsplit(endpoint)
    secure = url.scheme == "https"
    return {"host": url.hostname, "port": url.port or (443 if secure else 80), "secure": secure}
