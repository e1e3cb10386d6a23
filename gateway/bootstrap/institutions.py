"""Institutions of the settings, each with what the gateway asks it through."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from gateway.errors import InstitutionUnavailable
from gateway.identity.institutions import Institution
from gateway.identity.openid_provider import OpenIdProvider
from gateway.settings import InstitutionSettings, Settings


def providers_of(settings: Settings) -> dict[str, OpenIdProvider]:
    """Name → provider; nothing is asked of it before somebody signs in."""
    return {each.name: OpenIdProvider(_institution(each, settings.directory)) for each in settings.institutions}


def _institution(each: InstitutionSettings, directory: Path) -> Institution:
    return Institution(
        name=each.name,
        title=each.title,
        issuer=each.issuer,
        client_id=each.client_id,
        secret=partial(_secret, directory / each.client_secret_file, each.title),
        user_claim=each.user_claim,
        email_domains=each.email_domains,
        trusts_email=each.trusts_email,
        subject_pattern=each.subject_pattern,
        auto_create=each.auto_create,
    )


def _secret(file: Path, title: str) -> str:
    # Read each time, so that a secret is changed without a restart.
    try:
        return file.read_text().strip()
    except OSError as error:
        hint = "see client_secret_file in burst.toml"
        said = f"The gateway's secret for {title} cannot be read: {error.strerror}."
        raise InstitutionUnavailable(said, hint=hint) from error
