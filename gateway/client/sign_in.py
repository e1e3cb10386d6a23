"""Log in from a notebook: a code, a QR code and four words in the cell, approved on a phone or in another tab.

Invariant: nothing secret is shown or kept in the notebook; the key stays in the configuration directory.
"""

from __future__ import annotations

import os
from html import escape

import segno
from IPython.display import HTML, display

from gateway.client.device import DeviceLogin
from gateway.client.session import Session
from gateway.errors import InvalidRequest


def login(url: str | None = None, *, scopes: tuple[str, ...] = ()) -> Session:
    """Show a code, wait until it is approved, and keep the login. Raises ApprovalRefused, CodeExpired.

    >>> burst.login("https://burst.lab.example", scopes=("jobs:read", "storage:read"))
    """
    where = url or os.environ.get("BURST_URL")
    if not where:
        raise InvalidRequest("no gateway was named", hint="login(URL), or set BURST_URL")
    waiting = DeviceLogin.begin(where, scopes=scopes)
    shown = display(HTML(as_html(waiting)), display_id=True)
    session = waiting.wait()
    session.save()
    said = HTML(f"<p>Logged in to {escape(where)} as <b>{escape(session.profile.user)}</b>.</p>")
    if shown is not None:
        shown.update(said)
    return session


def as_html(waiting: DeviceLogin) -> str:
    """What a person needs to approve a login: the page, its QR code, the code, and the words to compare."""
    asked = waiting.asked
    page = escape(asked.verification_uri_complete)
    code = segno.make(asked.verification_uri_complete, micro=False).svg_inline(scale=4, light="#fff")
    return (
        f'<p>Open <a href="{page}" target="_blank" rel="noopener">{page}</a>, here or on a phone, and sign in.</p>'
        f"{code}<p>Code <code>{escape(asked.user_code)}</code><br>"
        f"Words <b>{escape(waiting.phrase)}</b></p><p>Approve only if the page shows the same words.</p>"
    )
