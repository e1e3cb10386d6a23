"""What a cloud's error means: one table from the texts that clouds answer with to the classes of `CloudError`.

Invariant: total. An answer that nobody has seen before is Ambiguous where the call may have changed something, so
nothing is ordered twice on a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import (
    Ambiguous,
    Capacity,
    CloudAuth,
    CloudError,
    CloudInvalid,
    CloudTransient,
    Quota,
    Throttled,
)


@dataclass(frozen=True)
class Rule:
    """Answers with this text are errors of this class."""

    pattern: re.Pattern[str]
    error: type[CloudError]


def _rule(error: type[CloudError], *texts: str) -> Rule:
    return Rule(re.compile("|".join(texts), re.IGNORECASE), error)


RULES = (
    # Throttling first: its texts speak of limits and quotas, too, and say nothing about room.
    _rule(
        Throttled,
        r"RequestLimitExceeded",
        r"Throttl",
        r"rate[- ]?limit",
        r"too many requests",
        r"SlowDown",
        r"queries per minute",
    ),
    _rule(
        Quota,
        r"(Instance|Vcpu|SpotInstance|Volume|Address)\w*LimitExceeded",
        r"MaxSpotInstanceCountExceeded",
        r"QUOTA_?EXCEEDED",
        r"quota exceeded",
        r"quota '\S+' exceeded",
        r"exceed(s|ed|ing)? (\w+ ){0,5}quota",
        r"maximum (monthly fee limit|number of active)",
    ),
    _rule(
        Capacity,
        r"Insufficient(Instance|Host|ReservedInstance|FreeAddresses)\w*",
        r"SpotMaxPriceTooLow",
        r"ZONE_RESOURCE_POOL_EXHAUSTED",
        r"does not have enough resources",
        r"AllocationFailed",
        r"Overconstrained\w*Allocation",
        r"SkuNotAvailable",
        r"no valid host was found",
        r"out of (host )?capacity",
        r"not available in (the|this|your) (selected )?(region|location)",
        r"sold out|out of stock",
    ),
    _rule(
        CloudAuth,
        r"UnauthorizedOperation",
        r"AuthFailure",
        r"InvalidClientTokenId",
        r"SignatureDoesNotMatch",
        r"(Expired|Invalid)Token",
        r"RequestExpired",
        r"OptInRequired",
        r"PendingVerification",
        r"invalid[ _]grant",
        r"Invalid JWT",
        r"GoogleAuthError",
        r"AADSTS\d+",
        r"AuthorizationFailed",
        r"(Expired|Invalid)Authentication(Token)?",
        r"Invalid API (token|key)",
        r"expired or revoked",
        r"PERMISSION_DENIED",
        r"Policy doesn't allow",
        r"invalid credentials",
        r"InvalidCredsError",
    ),
    _rule(
        CloudInvalid,
        r"Invalid(AMIID|Parameter|Subnet|Group|KeyPair|UserData|ImageRef)",
        r"MissingParameter",
        r"IdempotentParameterMismatch",
        r"Unsupported",
        r"(flavor|image|network) \S+ (could|can) ?not be found",
        r"can not find requested image",
        r"flavor'?s (memory|disk) is too small",
        r"sourceImage|machineType",
    ),
    _rule(
        CloudTransient,
        r"InstanceNameInUse",
        r"ConflictingConcurrentWriteNotAllowed",
        r"OperationPreempted|AnotherOperationInProgress",
        r"name or service not known",
        r"name resolution",
        r"failed to establish a new connection",
        r"connection refused",
        r"connect timeout",
        r"certificate verify failed",
        r"service ?unavailable",
        r"\bUnavailable:",
    ),
)
"""Tried in this order."""

_GONE = re.compile(
    r"Invalid(InstanceID|Volume|NetworkInterfaceID|AllocationID|KeyPair)\.NotFound"
    r"|(instance|server|volume|port|floating ?ip) \S+ could not be found|was not found",
    re.IGNORECASE,
)

_QUERY = re.compile(r"\?[^\s?]*=\S*")
"""The query of a URL: libcloud's EC2 driver sends user-data, and so a join token, in it."""

_HINTS: dict[type[CloudError], str] = {
    Capacity: "wait, or ask for another size",
    Quota: "ask the cloud for a higher quota, or end machines that are not needed",
    Throttled: "it is tried again by itself, more slowly",
    CloudAuth: "check the cloud credential of the gateway and what it may do",
    CloudInvalid: "check image, size and network in the gateway's settings",
    CloudTransient: "it is tried again by itself",
    Ambiguous: "the gateway looks whether the machine was made before it tries again",
}


def classify(error: Exception, *, changes: bool) -> CloudError:
    """The CloudError that a driver's exception stands for.

    ``changes``: the call may have made or ended something, so no answer, or none that can be read, is Ambiguous.
    """
    detail = _QUERY.sub("?…", _words(error)) or type(error).__name__
    text = f"{type(error).__name__}: {_code(error)}: {detail}"
    kind = next((rule.error for rule in RULES if rule.pattern.search(text)), None)
    kind = kind or _by_status(_status(error), changes=changes)
    return kind(detail, hint=_HINTS.get(kind))


def is_gone(error: Exception) -> bool:
    """Whether a driver's exception says that the machine does not exist any more."""
    return _status(error) == 404 or bool(_GONE.search(str(error)))  # noqa: PLR2004 - HTTP's "not found"


def _words(error: Exception) -> str:
    """What the cloud says; of Google's errors libcloud shows the whole structure that the words are in."""
    value = getattr(error, "value", None)
    return str(value["message"]) if isinstance(value, Mapping) and "message" in value else str(error)


def _code(error: Exception) -> str:
    """The cloud's own name of the error, which Google's are without in their words."""
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else ""


def _status(error: Exception) -> int | None:
    statuses = (getattr(error, "code", None), getattr(error, "http_code", None))
    return next((status for status in statuses if isinstance(status, int)), None)


def _by_status(status: int | None, *, changes: bool) -> type[CloudError]:
    match status:
        case 401 | 403:
            return CloudAuth
        case 429:
            return Throttled
        case 503:
            return CloudTransient
        case int() if 400 <= status < 500:  # noqa: PLR2004 - the range of HTTP's "your fault"
            return CloudInvalid
        case _:
            return Ambiguous if changes else CloudTransient
