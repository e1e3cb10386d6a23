"""`python canaille_server.py FILE`: canaille on this computer, in memory, with what the JSON file says.

The file holds served_at, port, people (name → password) and clients (id, secret, redirect_uri).
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from canaille.backends.memory.backend import MemoryBackend
from flask import Flask
from werkzeug.serving import run_simple

ANY_OF = MemoryBackend.do_query


def all_of(store: MemoryBackend, model: type[Any], *_: Any, **wanted: Any) -> list[Any]:
    """Canaille 0.3's memory store finds what has any of the attributes, so any code of a client; this, what has all."""
    if not wanted:
        return list(ANY_OF(store, model))
    found = [ANY_OF(store, model, **{name: value}) for name, value in wanted.items()]
    ids = set.intersection(*({each.id for each in one} for one in found))
    return [each for each in found[0] if each.id in ids]


def made(facts: dict[str, Any]) -> Flask:
    """The provider, with nobody in it."""
    MemoryBackend.do_query = all_of
    return create_app(
        {
            "SECRET_KEY": secrets.token_hex(16),
            "SERVER_NAME": f"{facts['served_at']}:{facts['port']}",
            "PREFERRED_URL_SCHEME": "http",
            "CANAILLE": {"DATABASE": "memory", "JAVASCRIPT": False, "HTMX": False},
            "CANAILLE_OIDC": {
                "TRUSTED_DOMAINS": [facts["served_at"]],
                "USERINFO_MAPPING": {"PREFERRED_USERNAME": "{{ user.user_name }}"},
            },
        }
    )


def add_person(name: str, password: str) -> None:
    """Somebody who works there."""
    known = {"formatted_name": name.title(), "family_name": name.title(), "emails": [f"{name}@lab.example"]}
    Backend.instance.save(models.User(user_name=name, password=password, **known))


def add_client(facts: dict[str, Any], served_at: str) -> None:
    """Somebody that they sign in to, without being asked whether they want to."""
    client = models.Client(
        client_id=facts["id"],
        client_secret=facts["secret"],
        client_name=facts["id"],
        client_uri=f"http://{served_at}",
        redirect_uris=[facts["redirect_uri"]],
        grant_types=["authorization_code"],
        response_types=["code"],
        token_endpoint_auth_method="client_secret_basic",
        scope=["openid", "profile", "email"],
    )
    Backend.instance.save(client)
    client.audience = [client]
    Backend.instance.save(client)


def main(facts: dict[str, Any]) -> None:
    """Serve until the process is ended."""
    app = made(facts)
    with app.app_context():
        for name, password in facts["people"].items():
            add_person(name, password)
        for client in facts["clients"]:
            add_client(client, facts["served_at"])
    run_simple("127.0.0.1", facts["port"], app, threaded=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
