"""SignedReplies: every answer to a signed request carries the gateway's signature over it.

Invariant: an answer is signed once, whole, as it leaves; what is streamed is passed on as it comes, unsigned.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import BadSignature
from gateway.identity.replies import REPLY_HEADER, Signer, sign_reply
from gateway.identity.signature import token_of


class SignedReplies:
    """ASGI middleware; refusals are signed like other answers, so that a client can believe them too."""

    def __init__(self, app: ASGIApp, signer: Callable[[], Signer]) -> None:
        self._app = app
        self._signer = signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; hold back the first part of its answer until there is a body to sign."""
        token = _token(scope)
        if token is None:
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def signing(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                if not message.get("more_body"):
                    body = message.get("body", b"")
                    signature = sign_reply(self._signer(), token, start["status"], body, datetime.now(UTC))
                    MutableHeaders(scope=start)[REPLY_HEADER] = signature
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, signing)


def _token(scope: Scope) -> str | None:
    """The token of a signed request, whatever it is worth."""
    if scope["type"] != "http":
        return None
    try:
        return token_of(Headers(scope=scope).get("authorization"))
    except BadSignature:
        return None
