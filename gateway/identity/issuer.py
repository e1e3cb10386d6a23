"""The gateway as an OpenID Connect issuer and OAuth 2.0 authorisation server: the documents by which others find it.

Invariant: what is published are public keys and constants, nothing of any user.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.identity.credentials import CANCEL, CREATE, READ

JWKS_PATH: Final = "/.well-known/jwks.json"
CONFIGURATION_PATH: Final = "/.well-known/openid-configuration"
AUTHORISATION_SERVER_PATH: Final = "/.well-known/oauth-authorization-server"
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
INTROSPECTION_PATH: Final = "/oauth/introspect"
REVOCATION_PATH: Final = "/oauth/revoke"

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
TOKEN_TYPES: Final = frozenset({ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:jwt"})
"""RFC 8693 section 3: both name what the gateway's credentials are."""

CACHED_S: Final = 300
"""How long the documents may be kept by those who verify; a token with a key that they do not know makes them ask."""


def configuration(issuer: str) -> dict[str, Any]:
    """OpenID Provider metadata (OpenID Connect Discovery 1.0 section 3) of ``issuer``, a URL without a final slash.

    There is no authorisation endpoint: the gateway gives tokens to jobs, not to browsers.
    """
    return {
        **authorisation_server(issuer),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "claims_supported": [
            "iss", "sub", "aud", "iat", "nbf", "exp", "jti", "scope", "act", "wlcg.ver",
            "burst_job", "burst_attempt", "burst_node",
        ],
    }  # fmt: skip


def authorisation_server(issuer: str) -> dict[str, Any]:
    """Authorisation server metadata (RFC 8414 section 2) of ``issuer``.

    A client has no secret of its own: the token that it holds is its proof.
    """
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}{JWKS_PATH}",
        "token_endpoint": f"{issuer}{TOKEN_PATH}",
        "introspection_endpoint": f"{issuer}{INTROSPECTION_PATH}",
        "revocation_endpoint": f"{issuer}{REVOCATION_PATH}",
        "grant_types_supported": [TOKEN_EXCHANGE],
        "response_types_supported": [],
        "scopes_supported": [READ, CREATE, CANCEL],
        "token_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint_auth_methods_supported": ["Bearer"],
        "revocation_endpoint_auth_methods_supported": ["none"],
    }
