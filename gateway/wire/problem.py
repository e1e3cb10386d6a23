"""Problem: every error as the HTTP door tells it (RFC 9457)."""

from __future__ import annotations

from gateway.wire.form import View


class Problem(View):
    """An error as RFC 9457 has it, with the gateway's own fields."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    field: str | None = None
    line: int | None = None
    exit_code: int | None = None
    retryable: bool = False
