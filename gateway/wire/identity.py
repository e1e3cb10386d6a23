"""Identity: becoming a user, second factors, remembered devices, and what administrators do with users and groups."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from gateway.wire.form import MOST_UCR, ONE_LINE, Request, View

USER_NAME = r"^[a-z][a-z0-9_.-]{0,31}$"
"""As Unix has them; no colon, which the ledger's own accounts and the audit log have in theirs."""

Name = Annotated[str, Field(max_length=32, pattern=USER_NAME)]
Password = Annotated[str, Field(min_length=1, max_length=1024)]
Code = Annotated[str, Field(min_length=1, max_length=64, pattern=ONE_LINE)]
RoleName = Literal["user", "admin"]
GroupRoleName = Literal["member", "leader"]


class RegisterRequest(Request):
    """To become a user, or with a code for that to choose a new password."""

    user: Name
    password: Password
    invitation: Annotated[str, Field(min_length=1, max_length=128, pattern=ONE_LINE)] | None = None


class Registered(View):
    """Somebody who may log in now."""

    user: str
    account: str


class InvitationRequest(Request):
    """An administrator's invitation of one person."""

    user: Name
    role: RoleName = "user"
    group: Name | None = None
    credits_ucr: int = Field(default=0, ge=0, le=MOST_UCR)
    hours: int = Field(default=72, ge=1, le=720)
    """How long its code is good."""
    add: bool = False
    """Make the user now; the code is for choosing a password."""


class InvitationView(View):
    """A one-time code, shown this once."""

    user: str
    code: str
    expires_at: datetime


class UserView(View):
    """A user, as administrators see them."""

    user: str
    role: str
    account: str
    disabled: bool
    totp: bool
    devices: int
    groups: tuple[str, ...]


class RoleRequest(Request):
    """What a user is to be."""

    role: RoleName


class ResetRequest(Request):
    """What else than the second factor is lost."""

    password: bool = False
    hours: int = Field(default=24, ge=1, le=720)


class ResetView(View):
    """What was reset; ``code`` lets the user choose a password and is shown this once."""

    user: str
    code: str | None = None
    expires_at: datetime | None = None


class FactorsView(View):
    """How one logs in."""

    totp: bool
    recovery_codes: int
    devices: int


class PasswordProof(Request):
    """The password once more, with a code if one is needed: for what a stolen session must not do."""

    password: Password
    code: Code | None = None


class TotpSecret(View):
    """What an authenticator app is given, shown this once."""

    uri: str
    secret: str


class ConfirmRequest(Request):
    """The first code of a new secret."""

    code: Code


class RecoveryCodes(View):
    """Ten one-time codes, shown this once."""

    codes: tuple[str, ...]


class RecoverRequest(Request):
    """Instead of a lost second factor."""

    user: str = Field(min_length=1, max_length=64, pattern=ONE_LINE)
    password: Password
    recovery_code: Code


class PasswordRequest(PasswordProof):
    """A new password."""

    new_password: Password


class Remember(Request):
    """A device that is to need no code; the private key stays where it was made."""

    public_key: dict[str, str]
    """JWK (RFC 8037: kty OKP, crv Ed25519)."""
    name: str = Field(min_length=1, max_length=255, pattern=ONE_LINE)


class DeviceView(View):
    """A remembered device."""

    id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None


class MemberView(View):
    """Somebody in a group."""

    user: str
    role: str


class GroupView(View):
    """A group; one with an account is a project."""

    group: str
    title: str
    account: str | None
    members: tuple[MemberView, ...]


class GroupRequest(Request):
    """A new group."""

    group: Name
    title: str = Field(default="", max_length=128, pattern=ONE_LINE)
    project: bool = False
    leader: Name | None = None
    """None: who creates it."""


class MemberRequest(Request):
    """Somebody who is to be in a group."""

    user: Name
    role: GroupRoleName = "member"
