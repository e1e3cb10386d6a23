"""Every setting of a gateway, typed and described; read from ``BURST_SERVER_*`` variables, then from ``burst.toml``.

Invariant: an unknown key is an error, and no secret is a setting (secrets are files below ``secrets/``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

CREDIT = 1_000_000
"""Micro-credits in a credit."""

SOCKET_PATH_MAX = 107
"""Longest path of a Unix socket in bytes (unix(7), sun_path)."""


class SizeSettings(BaseModel):
    """One size of machine that the local cloud offers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[a-z][a-z0-9]{0,15}$", description="also the prefix of the node names: small-1, small-2, …"
    )
    cores: int = Field(ge=1)
    memory_mb: int = Field(ge=128)
    gpus: int = Field(
        default=0, ge=0, description="declared as Slurm GRES gpu; the local cloud has no devices behind them"
    )
    credits_per_hour: float = Field(gt=0, description="price of one node for one hour, in credits")
    max_nodes: int = Field(ge=1, le=500)


class SiteSettings(BaseModel):
    """A site's own Slurm cluster that the gateway serves, in place of one of its own; burst site install sets it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slurm_conf: Path = Field(description="the site's slurm.conf")
    munge_key: Path = Field(default=Path("/etc/munge/munge.key"), description="the site's key, for nodes that join")
    partition: str = Field(
        default="cloud", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$", description="partition whose jobs go to the cloud"
    )
    users: dict[str, str] = Field(
        default={}, description="the site's user names → the gateway's, where they differ; one name each way"
    )

    @field_validator("users")
    @classmethod
    def _one_to_one(cls, users: dict[str, str]) -> dict[str, str]:
        if len(set(users.values())) != len(users):
            raise ValueError("two of the site's users have one user of the gateway")
        return users


DEFAULT_SIZES = (
    SizeSettings(name="small", cores=2, memory_mb=1024, credits_per_hour=1.2, max_nodes=12),
    SizeSettings(name="large", cores=8, memory_mb=4096, credits_per_hour=6.0, max_nodes=4),
    SizeSettings(name="gpu", cores=4, memory_mb=4096, gpus=1, credits_per_hour=30.0, max_nodes=2),
)


class Settings(BaseSettings):
    """A gateway's settings. Times are in seconds, memory in MiB, money in credits."""

    model_config = SettingsConfigDict(env_prefix="BURST_SERVER_", extra="forbid", frozen=True)

    directory: Path = Field(description="holds all state of this gateway; nothing is written outside it")
    cache: Path | None = Field(default=None, description="Slurm packages and the node image; default: DIRECTORY/cache")
    name: str = Field(
        default="burst",
        pattern=r"^[a-z][a-z0-9-]{0,30}$",
        description="name of this gateway and of its Slurm cluster",
    )
    port: int = Field(
        default=0, ge=0, le=65535, description="port of the HTTP API; 0 picks a free one at the first start"
    )
    database: str | None = Field(default=None, description="SQLAlchemy URL; default: SQLite at DIRECTORY/state.db")
    nodes: Literal["auto", "container", "process"] = Field(
        default="auto", description="form of the local cloud's nodes; auto tries containers first"
    )
    site: SiteSettings | None = Field(
        default=None, description="a Slurm cluster that is there already, served in place of an own one"
    )
    sizes: tuple[SizeSettings, ...] = Field(
        default=DEFAULT_SIZES, validate_default=True, description="sizes of the local cloud; for a site, without GPUs"
    )
    image_suite: str = Field(default="trixie", description="Debian suite of the node image and of the private Slurm")
    image_packages: tuple[str, ...] = Field(
        default=("openmpi-bin", "python3-mpi4py", "python3-numpy", "xtb"),
        description="Debian packages in the node image for jobs",
    )
    slurm: Literal["auto", "machine", "private"] = Field(
        default="auto", description="machine: Slurm on PATH; private: Debian's packages unpacked in the cache"
    )
    idle_s: int = Field(default=30, ge=1, description="Slurm's SuspendTime: an idle node is released after this time")
    resume_timeout_s: int = Field(default=180, ge=30, description="Slurm's ResumeTimeout")
    default_time_limit_min: int = Field(default=60, ge=1, description="time limit of a job that names none, in minutes")
    max_time_limit_min: int = Field(default=1440, ge=1, description="longest time limit, in minutes")
    demo_credits: float = Field(default=100.0, ge=0, description="credits that the demo user starts with")
    session_hours: int = Field(default=12, ge=1, le=168, description="how long a login lasts")
    clock_skew_s: int = Field(default=60, ge=0, le=300, description="difference of clocks that a signature may show")

    @field_validator("sizes")
    @classmethod
    def _without_gpus(cls, sizes: tuple[SizeSettings, ...], info: ValidationInfo) -> tuple[SizeSettings, ...]:
        """A site's GresTypes and gres.conf are its own, so its cloud partition has no GPUs."""
        return tuple(size for size in sizes if not size.gpus) if info.data.get("site") else sizes

    @classmethod
    def load(cls, directory: Path) -> Settings:
        """Read ``DIRECTORY/burst.toml`` and the environment.

        Raises ``pydantic.ValidationError`` for an unknown key or a value out of range.
        """
        return cls(directory=directory.resolve())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in code wins over the environment, which wins over the file."""
        given = init_settings() if isinstance(init_settings, InitSettingsSource) else {}
        file = Path(given["directory"]) / "burst.toml" if "directory" in given else None
        return init_settings, _Environment(settings_cls), TomlConfigSettingsSource(settings_cls, file)

    @property
    def cache_dir(self) -> Path:
        """Where downloads and the node image are kept."""
        chosen = self.cache or (Path(os.environ["BURST_CACHE"]) if os.environ.get("BURST_CACHE") else None)
        return chosen.resolve() if chosen else self.directory / "cache"

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the state."""
        return self.database or f"sqlite:///{self.directory / 'state.db'}"

    @property
    def run_dir(self) -> Path:
        """Pid files and sockets."""
        return self.directory / "run"

    @property
    def log_dir(self) -> Path:
        """One log a daemon."""
        return self.directory / "log"

    @property
    def secrets_dir(self) -> Path:
        """Keys and initial passwords, mode 0700."""
        return self.directory / "secrets"

    @property
    def slurm_dir(self) -> Path:
        """The embedded Slurm's configuration and state."""
        return self.directory / "slurm"

    @property
    def store_dir(self) -> Path:
        """The embedded object store's files."""
        return self.directory / "store"

    @property
    def cloud_dir(self) -> Path:
        """The local cloud's nodes."""
        return self.directory / "cloud"

    @property
    def spool_dir(self) -> Path:
        """Requests of slurmctld's programs that the gateway has yet to take."""
        return self.directory / "spool"


class _Environment(EnvSettingsSource):
    """The ``BURST_SERVER_*`` variables, those that are no setting included, so that they are refused."""

    def __call__(self) -> dict[str, Any]:
        prefix = self.env_prefix.lower()
        ours = {name.lower().removeprefix(prefix): text for name, text in os.environ.items() if self._ours(name)}
        unknown = {name: text for name, text in ours.items() if name not in Settings.model_fields}
        return {**unknown, **super().__call__()}

    def _ours(self, name: str) -> bool:
        return name.lower().startswith(self.env_prefix.lower())
