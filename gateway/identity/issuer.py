"""The gateway as an OpenID Connect issuer: the two documents by which others verify its tokens.

Invariant: what is published are public keys and constants, nothing of any user.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.identity.credentials import CANCEL, CREATE, READ

JWKS_PATH: Final = "/.well-known/jwks.json"
CONFIGURATION_PATH: Final = "/.well-known/openid-configuration"


def configuration(issuer: str) -> dict[str, Any]:
    """OpenID Provider metadata (OpenID Connect Discovery 1.0 section 3) of ``issuer``, a URL without a final slash.

    There is no authorisation endpoint: the gateway gives tokens to jobs, not to browsers.
    """
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}{JWKS_PATH}",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "scopes_supported": [READ, CREATE, CANCEL],
        "claims_supported": [
            "iss", "sub", "aud", "iat", "nbf", "exp", "jti", "scope", "wlcg.ver", "burst_job", "burst_attempt",
        ],
    }  # fmt: skip
