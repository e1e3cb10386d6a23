"""``python -m gateway.bootstrap VERB --dir D``: progress as JSON lines on stderr, one JSON answer on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.bootstrap import site, site_people
from gateway.bootstrap.audit import audit
from gateway.bootstrap.checks import check
from gateway.bootstrap.lifecycle import down, make_ready, up
from gateway.errors import BurstError
from gateway.settings import Settings


def main() -> int:
    """Run one verb."""
    options = _options()
    directory = options.directory.absolute()
    try:
        answer = _perform(options, directory)
    except BurstError as error:
        return _failed(error.detail, error.hint)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        return _failed(f"{directory / 'burst.toml'}: {key}: {first['msg']}", "docs/configuration.md lists the settings")
    except KeyboardInterrupt:
        return _failed("interrupted", "burst down ends what was started")
    if answer is not None:
        print(json.dumps(answer))  # noqa: T201 - this is the answer
    return 0


def _perform(options: argparse.Namespace, directory: Path) -> dict[str, Any] | None:
    assignments = dict(item.partition("=")[::2] for item in options.set)
    match options.verb:
        case "up" if not options.foreground:
            return up(directory, assignments, _tell)
        case "up":
            _serve(make_ready(directory, assignments, _tell))
            return None
        case "serve":
            _serve(Settings.load(directory))
            return None
        case "down":
            return down(directory, _tell)
        case "check" | "audit":
            return check(directory) if options.verb == "check" else audit(directory, options.known)
        case _:
            of_keys = options.verb.startswith("keys-")
            return _of_keys(options, directory) if of_keys else _of_site(options, directory, assignments)


def _of_site(options: argparse.Namespace, directory: Path, assignments: dict[str, str]) -> dict[str, Any]:
    match options.verb:
        case "site-install":
            return site.install(directory, assignments, _tell, apply=options.apply)
        case "site-remove":
            return site.remove(directory, _tell, apply=options.apply)
        case "site-people":
            return site_people.people(directory, options.link and tuple(options.link), options.unlink)
        case _:
            return site_people.add_user(directory, options.name, options.credits)


def _of_keys(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    from gateway.bootstrap import keys  # noqa: PLC0415 - the database takes a while to import

    if options.verb == "keys-list":
        return keys.listed(directory)
    return keys.rotate(directory, options.ring or keys.RINGS, options.key_file, _tell)


def _serve(settings: Settings) -> None:
    # The web server takes a second to import, which the other verbs do not need.
    from gateway.bootstrap.serve import serve  # noqa: PLC0415

    serve(settings)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway.bootstrap", description=__doc__)
    lives = ("up", "down", "check", "audit", "serve", "keys-list", "keys-rotate")
    verbs = (*lives, "site-install", "site-remove", "site-people", "site-user")
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("--dir", dest="directory", type=Path, required=True)
    parser.add_argument("--foreground", action="store_true")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--apply", action="store_true")
    parser.add_argument("--link", nargs=2, metavar=("UNIX_NAME", "USER"))
    parser.add_argument("--unlink", metavar="UNIX_NAME")
    parser.add_argument("--name")
    parser.add_argument("--known", metavar="HASH")
    parser.add_argument("--ring", action="append", choices=("signing", "credentials", "sealing"))
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--credits", type=float, default=0.0)
    return parser.parse_args()


def _tell(text: str) -> None:
    print(json.dumps({"progress": text}), file=sys.stderr, flush=True)  # noqa: T201 - read by the commands


def _failed(error: str, hint: str | None) -> int:
    print(json.dumps({"error": error, "hint": hint}), file=sys.stderr, flush=True)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
