"""Every setting of a gateway, typed and described; read from ``BURST_SERVER_*`` variables, then from ``burst.toml``.

Invariant: an unknown key is an error, and no secret is a setting (secrets are files below ``secrets/``).
"""

from __future__ import annotations

import os
import re
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
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

LOCAL_CLOUD = "local"
"""Name of this computer among the clouds."""

_THIS_COMPUTER = ("127.0.0.1", "::1", "localhost")

SOCKET_PATH_MAX = 107
"""Longest path of a Unix socket in bytes (unix(7), sun_path)."""


class SizeSettings(BaseModel):
    """One size of Slurm nodes; the local cloud offers it, other clouds may."""

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
    offers: tuple[str, ...] = Field(
        default=(),
        description='where its nodes come from, as "CLOUD/SIZE", first choice first; default: the local cloud alone, '
        '"local/NAME"',
    )

    @property
    def supplies(self) -> tuple[str, ...]:
        """``offers``, or what stands for none."""
        return self.offers or (f"{LOCAL_CLOUD}/{self.name}",)


class CloudSizeSettings(BaseModel):
    """One size of machine that a cloud offers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=64, description="the cloud's own name of it: t3.small, m1.small, …")
    cores: int = Field(ge=1)
    memory_mb: int = Field(ge=128)
    gpus: int = Field(default=0, ge=0)
    credits_per_hour: float = Field(gt=0, description="what it costs the site, in credits; jobs pay their size's price")
    max_nodes: int = Field(ge=1, le=500, description="most of them at once")


class CloudSettings(BaseModel):
    """One cloud beside the local one. docs/clouds.md says what each kind needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$", description="how `offers` call it")
    kind: str = Field(pattern=r"^[a-z][a-z0-9-]*$", description="the driver: ec2, openstack, hosts, vms")
    region: str = Field(default="", description="EC2's or OpenStack's name of the region")
    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL of its API (OpenStack: Keystone's); default for EC2: the region's",
    )
    image: str | None = Field(default=None, description="id of the image (OpenStack: or its name)")
    network: str | None = Field(default=None, description="id of the subnet (EC2) or network (OpenStack)")
    security_groups: tuple[str, ...] = Field(default=(), description="ids (EC2) or names (OpenStack)")
    credential: str | None = Field(
        default=None, pattern=r"^[^/]+$", description="JSON file below DIRECTORY/secrets, mode 0600; default: NAME.json"
    )
    poll_s: float = Field(default=3.0, ge=0, description="its machines are listed at most this often")
    sizes: tuple[CloudSizeSettings, ...] = Field(min_length=1)
    options: dict[str, Any] = Field(default_factory=dict, description="what only this kind knows")

    @field_validator("endpoint")
    @classmethod
    def _private(cls, endpoint: str | None) -> str | None:
        """User-data carries a one-time token: it leaves this computer encrypted or not at all."""
        if endpoint and endpoint.startswith("http://") and urlsplit(endpoint).hostname not in _THIS_COMPUTER:
            raise ValueError("http is for this computer only; use https")
        return endpoint


class UnitSettings(BaseModel):
    """One simulation unit that is sold in place of node time; docs/money.md shows how to write one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str = Field(
        pattern=r"^[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)*@v[1-9][0-9]{0,3}$",
        max_length=64,
        description="what --units names; another meaning is another version",
    )
    title: str = Field(min_length=1, max_length=80, description="in the plural, for quotes and receipts")
    credits_per_unit: Decimal = Field(gt=0, decimal_places=6, le=10**6, description="price of one, exact")
    meter: Literal["count", "last", "exit-0"] = Field(
        description="count: lines that match; last: the number in the last line that matches; exit-0: one a task"
    )
    pattern: str = Field(default="", max_length=400, description="Python regular expression, searched in each line")
    file: str = Field(default="stdout", max_length=256, description="what is read: stdout, or a glob of output files")
    node_seconds: float | None = Field(
        default=None, gt=0, description="most node-seconds that one unit may take; bounds --time; none: no bound"
    )


DEFAULT_UNITS = (
    UnitSettings(
        code="mc.sweep@v1",
        title="Monte Carlo sweeps",
        credits_per_unit=Decimal("0.000010"),
        meter="last",
        pattern=r"^sweeps (\d+)",
    ),
    UnitSettings(
        code="xtb.opt@v1",
        title="relaxed geometries (xtb)",
        credits_per_unit=Decimal("0.020000"),
        meter="count",
        pattern=r"GEOMETRY OPTIMIZATION CONVERGED AFTER",
    ),
    UnitSettings(code="run@v1", title="successful runs", credits_per_unit=Decimal("0.050000"), meter="exit-0"),
)


class BurstSettings(BaseModel):
    """Which waiting jobs of a site's own partitions may go to the cloud too; docs/site.md has a worked example."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partitions: tuple[str, ...] = Field(default=(), description="partitions whose jobs may; none: only who asks")
    accounts: tuple[str, ...] = Field(default=(), description='Slurm accounts whose jobs may; ["*"]: all of them')
    after_min: int = Field(default=30, ge=0, description="only those that Slurm expects to start later than this")
    max_jobs: int = Field(default=20, ge=0, description="moved only while fewer of the site's jobs are in the cloud")
    max_credits: float | None = Field(default=None, gt=0, description="most that one moved job may cost, in credits")


class SiteSettings(BaseModel):
    """A site's own Slurm cluster that the gateway serves, in place of one of its own; burst site install sets it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slurm_conf: Path = Field(description="the site's slurm.conf")
    munge_key: Path = Field(default=Path("/etc/munge/munge.key"), description="the site's key, for nodes that join")
    partition: str = Field(
        default="cloud", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$", description="partition whose jobs go to the cloud"
    )
    cli_filter: bool = Field(
        default=False, description="the site's commands run cli_filter.lua, which must then be on every host of users"
    )
    burst: BurstSettings = Field(default=BurstSettings(), description="which waiting jobs may go to the cloud too")
    same_names: bool = Field(
        default=True, description="a site's user whom nobody has linked is the gateway's of the same name"
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


class InstitutionSettings(BaseModel):
    """One OpenID Connect provider whose people may sign in; docs/sign-in.md has a worked example."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$", description="in URLs: /web/institutions/NAME/return")
    title: str = Field(min_length=1, max_length=80, description="what people know it by")
    issuer: str = Field(max_length=255, description="its issuer URL, letter for letter as its own metadata has it")
    client_id: str = Field(min_length=1, max_length=255, description="what it knows this gateway by")
    client_secret_file: Path = Field(description="file that holds the client's secret")
    user_claim: str = Field(default="preferred_username", description="claim that names users who are made")
    email_domains: tuple[str, ...] = Field(default=(), description="only people with a verified address of these")
    trusts_email: bool = Field(default=False, description="its addresses are good though it tells no email_verified")
    subject_pattern: str | None = Field(default=None, description="regular expression for the whole subject")
    auto_create: bool = Field(default=False, description="make users for people who are let in and have none yet")

    @field_validator("issuer")
    @classmethod
    def _private_issuer(cls, issuer: str) -> str:
        parts = urlsplit(issuer)
        if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in _THIS_COMPUTER):
            raise ValueError("an issuer is https; http is for this computer only")
        return issuer

    @field_validator("email_domains")
    @classmethod
    def _folded(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(domain.casefold() for domain in domains)

    @model_validator(mode="after")
    def _says_who(self) -> Self:
        if self.subject_pattern is not None:
            try:
                re.compile(self.subject_pattern)
            except re.error as error:
                raise ValueError(f"subject_pattern: {error}") from error
        if self.auto_create and not self.email_domains and self.subject_pattern is None:
            raise ValueError("auto_create needs email_domains or subject_pattern; subject_pattern = '.*' is everybody")
        return self


DEFAULT_SIZES = (
    SizeSettings(name="small", cores=2, memory_mb=1024, credits_per_hour=1.2, max_nodes=12),
    SizeSettings(name="large", cores=8, memory_mb=4096, credits_per_hour=6.0, max_nodes=4),
    SizeSettings(name="gpu", cores=4, memory_mb=4096, gpus=1, credits_per_hour=30.0, max_nodes=2),
)


class HostSettings(BaseModel):
    """One host that is already there and that the gateway may use as a node."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    address: str = Field(min_length=1, description="IP address or name")
    port: int = Field(default=22, ge=1, le=65535, description="of its sshd")
    user: str = Field(default="root", min_length=1, description="whom to log in as; another than root needs sudo")
    host_key: str = Field(
        min_length=1, description='"ssh-ed25519 AAAA…", as ssh-keyscan prints it; another key is refused'
    )
    size: str = Field(description="the name of one of the sizes: what the host counts as")


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
    listen: IPv4Address = Field(
        default=IPv4Address("127.0.0.1"),
        description="IPv4 address that the HTTP API listens on besides this machine's own; 0.0.0.0 is every address",
    )
    database: str | None = Field(
        default=None,
        description="SQLAlchemy URL: postgresql+psycopg://USER@HOST/NAME; default: SQLite at DIRECTORY/state.db",
    )
    nodes: Literal["auto", "container", "process"] = Field(
        default="auto", description="form of the local cloud's nodes; auto tries containers first"
    )
    site: SiteSettings | None = Field(
        default=None, description="a Slurm cluster that is there already, served in place of an own one"
    )
    sizes: tuple[SizeSettings, ...] = Field(
        default=DEFAULT_SIZES, validate_default=True, description="sizes of the local cloud; for a site, without GPUs"
    )
    clouds: tuple[CloudSettings, ...] = Field(default=(), description="clouds beside the local one; see docs/clouds.md")
    node_address: str | None = Field(
        default=None,
        description="address of this computer that nodes in other clouds reach; default: the local cloud's own",
    )
    units: tuple[UnitSettings, ...] = Field(default=DEFAULT_UNITS, description="simulation units, for #BURST --units")
    image_suite: str = Field(default="trixie", description="Debian suite of the node image and of the private Slurm")
    image_packages: tuple[str, ...] = Field(
        default=("openmpi-bin", "python3-mpi4py", "python3-numpy", "xtb"),
        description="Debian packages in the node image for jobs",
    )
    slurm: Literal["auto", "machine", "private"] = Field(
        default="auto", description="machine: Slurm on PATH; private: Debian's packages unpacked in the cache"
    )
    store: Literal["embedded", "s3"] = Field(
        default="embedded", description="s3: a store that is there already; its keys are in secrets/store-access.json"
    )
    store_endpoint: str | None = Field(
        default=None, pattern=r"^https?://[^/]+$", description="URL of the store s3 as users reach it; default: AWS"
    )
    store_node_endpoint: str | None = Field(
        default=None, pattern=r"^https?://[^/]+$", description="the same as nodes reach it; default: store_endpoint"
    )
    store_bucket: str = Field(
        default="burst", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="bucket in the store s3"
    )
    store_region: str = Field(default="us-east-1", description="region of the store s3")
    store_job_keys: bool = Field(
        default=True, description="running jobs get keys of their own to the store s3; it must have IAM roles and STS"
    )
    idle_s: int = Field(default=30, ge=1, description="Slurm's SuspendTime: an idle node is released after this time")
    resume_timeout_s: int = Field(default=180, ge=30, description="Slurm's ResumeTimeout")
    gang_wait_s: int = Field(
        default=300,
        ge=1,
        description="machines that one job needs together and that do not all run within this time are ended, and the "
        "next offer is asked",
    )
    capacity_wait_s: int = Field(
        default=150,
        ge=1,
        description="a job whose nodes no offer has room for goes back into the queue after this time; give it less "
        "than resume_timeout_s, or Slurm itself gives up first and says less",
    )
    max_nodes: int | None = Field(default=None, ge=1, description="most elastic nodes at once; default: no limit")
    max_nodes_per_account: int | None = Field(
        default=None, ge=1, description="most elastic nodes at once for the jobs of one account; default: no limit"
    )
    default_time_limit_min: int = Field(default=60, ge=1, description="time limit of a job that names none, in minutes")
    max_time_limit_min: int = Field(default=1440, ge=1, description="longest time limit, in minutes")
    datacite_url: str | None = Field(
        default=None, description="API of the DOI registry: https://api.datacite.org, or https://api.test.datacite.org"
    )
    datacite_prefix: str | None = Field(
        default=None, pattern=r"^10\.[0-9]{4,5}$", description="DOI prefix of the repository, such as 10.12345"
    )
    sealing_key_file: Path | None = Field(
        default=None,
        description="file of the key that secrets at rest are encrypted with, mode 0600: 32 raw bytes or their base64; "
        "made if nothing is sealed yet; default: secrets/sealing.key",
    )
    datacite_repository: str | None = Field(default=None, description="repository id at DataCite, such as ABCD.LAB")
    datacite_password_file: Path | None = Field(default=None, description="file that holds the repository's password")
    publisher: str | None = Field(
        default=None, description="who publishes, as DOIs name it; default: the gateway's name"
    )
    publication_url: str | None = Field(
        default=None, description="public base of the landing pages' URLs; default: the gateway's own URL"
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#]+/?$",
        description="where people's browsers find the gateway; passkeys need https with a domain name, or localhost; "
        "default: the gateway's own URL",
    )
    institutions: tuple[InstitutionSettings, ...] = Field(
        default=(), description="OpenID Connect providers that people may sign in with; see docs/sign-in.md"
    )
    demo_credits: float = Field(default=100.0, ge=0, description="credits that the demo user starts with")
    registration: Literal["invitation", "open"] = Field(
        default="invitation", description="who may become a user: whom an administrator invites, or everybody"
    )
    session_hours: int = Field(default=12, ge=1, le=168, description="how long a login lasts")
    clock_skew_s: int = Field(default=60, ge=0, le=300, description="difference of clocks that a signature may show")

    @field_validator("sizes")
    @classmethod
    def _without_gpus(cls, sizes: tuple[SizeSettings, ...], info: ValidationInfo) -> tuple[SizeSettings, ...]:
        """A site's GresTypes and gres.conf are its own, so its cloud partition has no GPUs."""
        return tuple(size for size in sizes if not size.gpus) if info.data.get("site") else sizes

    @field_validator("institutions")
    @classmethod
    def _differ(cls, institutions: tuple[InstitutionSettings, ...]) -> tuple[InstitutionSettings, ...]:
        for what in ("name", "issuer"):
            if len({getattr(each, what) for each in institutions}) < len(institutions):
                raise ValueError(f"two institutions have one {what}")
        return institutions

    @classmethod
    def load(cls, directory: Path) -> Settings:
        """Read ``DIRECTORY/burst.toml`` and the environment.

        Raises ``pydantic.ValidationError`` for an unknown key or a value out of range.
        """
        return cls(directory=directory.resolve())

    @model_validator(mode="after")
    def _offers_exist(self) -> Self:
        """Each offer is a size of a known cloud, and no smaller than what Slurm is told of its nodes."""
        if len({LOCAL_CLOUD, *(cloud.name for cloud in self.clouds)}) <= len(self.clouds):
            raise ValueError(f"clouds: names differ, and none is {LOCAL_CLOUD}")
        sizes: dict[str, SizeSettings | CloudSizeSettings] = {f"{LOCAL_CLOUD}/{size.name}": size for size in self.sizes}
        sizes |= {f"{cloud.name}/{size.name}": size for cloud in self.clouds for size in cloud.sizes}
        for size in self.sizes:
            for offer in size.offers:
                if offer not in sizes:
                    raise ValueError(f"size {size.name}: there is no offer {offer}; there are {', '.join(sizes)}")
                if less := _less(sizes[offer], size):
                    raise ValueError(f"size {size.name}: its offer {offer} has less {less}")
        return self

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
    def vms_dir(self) -> Path:
        """Virtual machines, a folder for each cloud of that kind."""
        return self.directory / "vms"

    @property
    def spool_dir(self) -> Path:
        """Requests of slurmctld's programs that the gateway has yet to take."""
        return self.directory / "spool"


def _less(offer: SizeSettings | CloudSizeSettings, size: SizeSettings) -> str:
    """What an offer has less of than a size promises; "" if of nothing."""
    return next((what for what in ("cores", "memory_mb", "gpus") if getattr(offer, what) < getattr(size, what)), "")


class _Environment(EnvSettingsSource):
    """The ``BURST_SERVER_*`` variables, those that are no setting included, so that they are refused."""

    def __call__(self) -> dict[str, Any]:
        prefix = self.env_prefix.lower()
        ours = {name.lower().removeprefix(prefix): text for name, text in os.environ.items() if self._ours(name)}
        unknown = {name: text for name, text in ours.items() if name not in Settings.model_fields}
        return {**unknown, **super().__call__()}

    def _ours(self, name: str) -> bool:
        return name.lower().startswith(self.env_prefix.lower())
