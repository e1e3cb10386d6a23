"""People: one's own factors, and what administrators and leaders do with users and groups, over a session.

Invariant: a password or a code goes into one request and is kept nowhere.
"""

from __future__ import annotations

from urllib.parse import quote

from gateway import wire
from gateway.client.session import Session, post_unsigned, send_unsigned


class People:
    """Identity, as the commands need it. Every method raises the gateway's own errors (``gateway.errors``)."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def factors(self) -> wire.FactorsView:
        """What one's logins need."""
        return self.session.get("/factors", wire.FactorsView)

    def begin_totp(self, password: str) -> wire.TotpSecret:
        """A secret for an authenticator app, which counts after ``confirm_totp``."""
        return self.session.post("/totp", wire.PasswordProof(password=password), wire.TotpSecret)

    def confirm_totp(self, code: str) -> wire.RecoveryCodes:
        """Logins need a code from now on."""
        return self.session.post("/totp/confirm", wire.ConfirmRequest(code=code), wire.RecoveryCodes, safe=False)

    def remove_totp(self, password: str, code: str | None) -> None:
        """Logins need no code from now on."""
        self.session.request("POST", "/totp/remove", wire.PasswordProof(password=password, code=code), safe=False)

    def new_recovery_codes(self, password: str, code: str | None) -> wire.RecoveryCodes:
        """Ten new ones in place of those before."""
        body = wire.PasswordProof(password=password, code=code)
        return self.session.post("/totp/recovery-codes", body, wire.RecoveryCodes, safe=False)

    def change_password(self, password: str, code: str | None, new_password: str) -> None:
        """A new password; every other login ends."""
        body = wire.PasswordRequest(password=password, code=code, new_password=new_password)
        self.session.request("POST", "/password", body, safe=False)

    def devices(self) -> tuple[wire.DeviceView, ...]:
        """The remembered devices, newest first."""
        return self.session.get("/devices", tuple[wire.DeviceView, ...])

    def revoke_device(self, device: str) -> None:
        """It needs a code again."""
        self.session.request("DELETE", f"/devices/{_part(device)}")

    def claim_unix_user(self, unix_name: str) -> wire.ClaimView:
        """What to submit as the site's ``unix_name``, so that its jobs are one's own."""
        return self.session.post("/site/claims", wire.ClaimRequest(unix_name=unix_name), wire.ClaimView)

    def users(self) -> tuple[wire.UserView, ...]:
        """Every user."""
        return self.session.get("/users", tuple[wire.UserView, ...])

    def invite(self, request: wire.InvitationRequest) -> wire.InvitationView:
        """A one-time code for a new user."""
        return self.session.post("/invitations", request, wire.InvitationView, safe=False)

    def set_role(self, user: str, role: str) -> wire.UserView:
        """Make somebody an administrator, or one no more."""
        body = wire.RoleRequest.model_validate({"role": role})
        return self.session.post(f"/users/{_part(user)}/role", body, wire.UserView)

    def disable(self, user: str) -> wire.UserView:
        """Shut a user out."""
        return self.session.post(f"/users/{_part(user)}/disable", None, wire.UserView)

    def enable(self, user: str) -> wire.UserView:
        """Let a user in again."""
        return self.session.post(f"/users/{_part(user)}/enable", None, wire.UserView)

    def reset(self, user: str, *, password: bool) -> wire.ResetView:
        """Remove a user's second factor; with ``password`` also get a code for a new one."""
        body = wire.ResetRequest(password=password)
        return self.session.post(f"/users/{_part(user)}/reset", body, wire.ResetView, safe=False)

    def groups(self) -> tuple[wire.GroupView, ...]:
        """One's groups; an administrator's are all."""
        return self.session.get("/groups", tuple[wire.GroupView, ...])

    def group(self, name: str) -> wire.GroupView:
        """One group."""
        return self.session.get(f"/groups/{_part(name)}", wire.GroupView)

    def create_group(self, request: wire.GroupRequest) -> wire.GroupView:
        """A new group or project."""
        return self.session.post("/groups", request, wire.GroupView, safe=False)

    def put_member(self, group: str, user: str, *, leader: bool) -> wire.GroupView:
        """Let somebody in, or change what they are to the group."""
        body = wire.MemberRequest(user=user, role="leader" if leader else "member")
        return self.session.post(f"/groups/{_part(group)}/members", body, wire.GroupView)

    def remove_member(self, group: str, user: str) -> None:
        """End somebody's place in it."""
        self.session.request("DELETE", f"/groups/{_part(group)}/members/{_part(user)}")


def register(url: str, user: str, password: str, invitation: str | None) -> wire.Registered:
    """Become a user of the gateway at ``url``, or choose a new password. Raises NotAllowed, Conflict."""
    body = wire.RegisterRequest(user=user, password=password, invitation=invitation)
    return post_unsigned(url, "/users", body, wire.Registered, patience_s=5, safe=False)


def recover(url: str, user: str, password: str, recovery_code: str) -> None:
    """Remove a lost second factor. Raises NotAllowed."""
    body = wire.RecoverRequest(user=user, password=password, recovery_code=recovery_code)
    send_unsigned(url, "/recovery", body, patience_s=5, safe=False)


def _part(text: str) -> str:
    return quote(text, safe="")
