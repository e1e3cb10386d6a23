"""Problem documents (RFC 9457) turned back into the gateway's own errors.

Invariant: every answer of 400 and above becomes a BurstError; an unknown code keeps its text.
"""

from __future__ import annotations

import httpx2
from pydantic import ValidationError

from gateway import errors
from gateway.errors import BurstError, GatewayUnavailable, NotFound, OptionError, ScriptError
from gateway.wire import Problem


def error_of(response: httpx2.Response) -> BurstError:
    """The error that ``response`` tells of, of the class that the gateway raised."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return _unexplained(response)
    return from_problem(problem)


def from_problem(problem: Problem) -> BurstError:
    """Rebuild the error: its class by ``code``, then what it said, where, and what to do next."""
    error = _build(classes().get(problem.code, BurstError), problem)
    error.hint = problem.hint
    error.field = problem.field
    return error


def classes() -> dict[str, type[BurstError]]:
    """Every class that gateway.errors defines, by its code; where several share one, the most general."""
    found: dict[str, type[BurstError]] = {}
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, BurstError):
            found.setdefault(each.code, each)
    return found


def _build(cls: type[BurstError], problem: Problem) -> BurstError:
    if cls is ScriptError:
        return ScriptError(problem.detail, line=problem.line, exit_code=_or(problem.exit_code, 1))
    if cls is OptionError:
        return OptionError(problem.detail, option=problem.field, exit_code=_or(problem.exit_code, 255))
    return cls(problem.detail)


def _or(given: int | None, default: int) -> int:
    return default if given is None else given


def _unexplained(response: httpx2.Response) -> BurstError:
    """What is not a problem document comes from something between us and the gateway, or is not one at all."""
    what = f"{response.request.method} {response.request.url} was answered with {response.status_code}"
    if response.status_code == httpx2.codes.NOT_FOUND:
        return NotFound(what, hint="check that the URL is a gateway's: burst whoami")
    if response.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR:
        return GatewayUnavailable(what, hint="try again; if it stays, look at the gateway's log")
    return BurstError(what, hint="check that the URL is a gateway's: burst whoami")
