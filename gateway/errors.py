"""Every error of the gateway, in one tree; each has a code, says what to do next and whether a retry can help.

    BurstError
    ├─ InvalidRequest        the request itself is wrong; nothing was created
    │  ├─ ScriptError           a line of the job script
    │  ├─ OptionError           an option on the command line
    │  ├─ NoOfferFits           more than any offer has
    │  └─ InputMissing          a stage-in source that is not there
    ├─ NotAllowed            who is asking, or what they ask for
    │  ├─ BadSignature  ├─ SignatureExpired  ├─ SignatureReplayed  ├─ Refused
    │  ├─ TooManyTries           of a password or a code; later
    │  ├─ CodeNeeded             the password was right; a second factor is missing
    │  ├─ DeviceError            ├─ ApprovalPending ├─ SlowDown ├─ CodeExpired └─ ApprovalRefused
    │  └─ TokenError             ├─ InvalidScope ├─ InvalidTarget ├─ InvalidGrant ├─ InvalidClient
    │                            └─ UnsupportedGrant
    ├─ InsufficientFunds     the account cannot cover the hold
    │  └─ BudgetExceeded        it could, but its budget does not let it
    ├─ LedgerBroken          an audit found a row that was changed
    ├─ AuditBroken           so did one of the audit log itself
    ├─ NotFound              with a reason, told to nobody, when it is there and not for who asks
    ├─ Conflict              another worker or an earlier request was first
    ├─ SchedulerError        ├─ SchedulerUnavailable (retry)  └─ SchedulerRefused (Slurm's own words)
    ├─ CloudError            ├─ Capacity ├─ Quota ├─ Throttled ├─ CloudAuth ├─ CloudInvalid
    │                        ├─ CloudTransient ├─ Ambiguous ├─ Price └─ BootstrapFailed
    │                        └─ of Price: PriceUnknown
    ├─ SshError              ├─ HostUnreachable (retry) ├─ HostSilent ├─ HostKeyChanged └─ LoginRefused
    ├─ StoreError            ├─ StoreUnavailable (retry)  └─ ChecksumMismatch
    ├─ JobFailed             a job whose result was wanted did not complete
    ├─ DoiError              ├─ DoiUnavailable (retry)  └─ DoiRefused (the registry's words)
    ├─ InstitutionUnavailable   an institution that people sign in with is away, or is not as it was (retry)
    ├─ DatabaseUnavailable   the database server is away (retry)
    ├─ SetupError            this machine lacks something
    ├─ BadReply              an answer that the gateway did not sign, or not for this request
    ├─ BadProof              a receipt or its evidence does not hold
    └─ GatewayUnavailable    nobody answers at the gateway's URL (retry)

Only ``gateway.api`` knows HTTP status codes and only ``gateway.cli`` knows exit codes.
"""

from __future__ import annotations


class BurstError(Exception):
    """Something went wrong in the gateway."""

    code = "internal"
    retryable = False

    def __init__(self, detail: str | None = None, *, hint: str | None = None, field: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        self.field = field
        super().__init__(self.detail)


class InvalidRequest(BurstError):
    """The request is not valid."""

    code = "invalid_request"


class ScriptError(InvalidRequest):
    """The job script is not valid.

    ``line`` and ``column`` count from 1; ``exit_code`` is the one that sbatch itself would end with.
    """

    code = "invalid_script"

    def __init__(
        self,
        detail: str,
        *,
        line: int | None = None,
        column: int | None = None,
        exit_code: int = 1,
        hint: str | None = None,
    ) -> None:
        super().__init__(detail, hint=hint, field=None if line is None else f"script:{line}")
        self.line = line
        self.column = column
        self.exit_code = exit_code


class OptionError(InvalidRequest):
    """An option is not valid."""

    code = "invalid_option"

    def __init__(
        self, detail: str, *, option: str | None = None, exit_code: int = 255, hint: str | None = None
    ) -> None:
        super().__init__(detail, hint=hint or "man sbatch has its form", field=option)
        self.exit_code = exit_code


class NoOfferFits(InvalidRequest):
    """No offer has what the job asks for."""

    code = "no_offer_fits"


class InputMissing(InvalidRequest):
    """A stage-in source does not exist."""

    code = "input_missing"


class NotAllowed(BurstError):
    """The request is not allowed."""

    code = "not_allowed"


class BadSignature(NotAllowed):
    """The request's signature does not match the request."""

    code = "bad_signature"


class SignatureExpired(NotAllowed):
    """The request's signature, or the session behind it, has expired."""

    code = "signature_expired"


class SignatureReplayed(NotAllowed):
    """This signed request was already used."""

    code = "signature_replayed"


class Refused(NotAllowed):
    """The gateway's policy refuses this."""

    code = "refused"


class TooManyTries(NotAllowed):
    """There were too many tries; the gateway takes no more for a while."""

    code = "too_many_tries"

    def __init__(
        self, detail: str | None = None, *, hint: str | None = None, field: str | None = None, retry_after_s: int = 60
    ) -> None:
        super().__init__(detail, hint=hint or f"try again in {retry_after_s} s", field=field)
        self.retry_after_s = retry_after_s


class CodeNeeded(NotAllowed):
    """A code is needed beside the password."""

    code = "code_needed"


class DeviceError(NotAllowed):
    """This login is not approved; the codes below are RFC 8628's."""

    code = "invalid_grant"


class ApprovalPending(DeviceError):
    """Nobody has approved this login yet."""

    code = "authorization_pending"


class SlowDown(DeviceError):
    """The gateway is asked too often; wait five seconds longer between two questions."""

    code = "slow_down"


class CodeExpired(DeviceError):
    """This code is no longer good."""

    code = "expired_token"


class ApprovalRefused(DeviceError):
    """The user refused this login."""

    code = "access_denied"


class TokenError(NotAllowed):
    """This token request is not valid; ``oauth`` of it and those below is RFC 6749's, section 5.2."""

    code = "invalid_token_request"
    oauth = "invalid_request"
    """Its name at a token endpoint."""


class InvalidScope(TokenError):
    """The requested scope exceeds what the token has."""

    code = "invalid_scope"
    oauth = "invalid_scope"


class InvalidTarget(TokenError):
    """The token is for another service (RFC 8693 section 2.2.2)."""

    code = "invalid_target"
    oauth = "invalid_target"


class InvalidGrant(TokenError):
    """The token was issued to another client."""

    code = "foreign_token"
    oauth = "invalid_grant"


class InvalidClient(TokenError):
    """Who is asking was not proven."""

    code = "invalid_client"
    oauth = "invalid_client"


class UnsupportedGrant(TokenError):
    """This gateway has token exchange and no other grant."""

    code = "unsupported_grant_type"
    oauth = "unsupported_grant_type"


class InsufficientFunds(BurstError):
    """The account cannot fund this."""

    code = "insufficient_funds"


class BudgetExceeded(InsufficientFunds):
    """The account's budget is used up."""

    code = "budget_exceeded"


class LedgerBroken(BurstError):
    """The ledger's rows do not agree with each other."""

    code = "ledger_broken"


class AuditBroken(BurstError):
    """The audit log does not agree with itself."""

    code = "audit_broken"


class NotFound(BurstError):
    """There is no such thing here."""

    code = "not_found"

    def __init__(
        self, detail: str | None = None, *, hint: str | None = None, field: str | None = None, reason: str | None = None
    ) -> None:
        super().__init__(detail, hint=hint, field=field)
        self.reason = reason


class Conflict(BurstError):
    """Another request or worker was first."""

    code = "conflict"


class SchedulerError(BurstError):
    """Slurm did not do what was asked."""

    code = "scheduler_error"


class SchedulerUnavailable(SchedulerError):
    """Unable to contact slurm controller."""

    code = "scheduler_unavailable"
    retryable = True


class SchedulerRefused(SchedulerError):
    """Slurm refused the request; the detail is Slurm's own text."""

    code = "scheduler_refused"

    def __init__(self, detail: str, *, errno: int | None = None) -> None:
        super().__init__(detail)
        self.errno = errno


class CloudError(BurstError):
    """A cloud did not do what was asked."""

    code = "cloud_error"


class Capacity(CloudError):
    """The cloud has no room for this size now."""

    code = "cloud_capacity"


class LimitReached(Capacity):
    """As many machines of this supply are in use as the gateway's own settings allow."""

    code = "cloud_limit"


class Unlisted(Capacity):
    """The cloud does not tell which machines it has, so nothing more is ordered there."""

    code = "cloud_unlisted"


class Quota(CloudError):
    """The cloud account's quota is used up."""

    code = "cloud_quota"


class Throttled(CloudError):
    """The cloud asks for fewer calls; it says nothing about room."""

    code = "cloud_throttled"
    retryable = True


class CloudAuth(CloudError):
    """The cloud refuses the gateway's credential."""

    code = "cloud_auth"


class CloudInvalid(CloudError):
    """The cloud refuses the call itself: image, size or parameter."""

    code = "cloud_invalid"


class CloudTransient(CloudError):
    """The cloud failed before it acted."""

    code = "cloud_transient"
    retryable = True


class Ambiguous(CloudError):
    """The cloud may or may not have acted; it must be looked up before anything else is tried."""

    code = "cloud_ambiguous"


class Price(CloudError):
    """The price is above what may be paid; nothing is launched."""

    code = "cloud_price"


class PriceUnknown(Price):
    """The offer's price is unknown or zero; nothing is launched."""

    code = "cloud_price_unknown"


class BootstrapFailed(CloudError):
    """The node never became usable."""

    code = "bootstrap_failed"


class SshError(BurstError):
    """A host did not do what it was asked over SSH."""

    code = "ssh_error"


class HostUnreachable(SshError):
    """The host does not answer; nothing was done on it."""

    code = "host_unreachable"
    retryable = True


class HostSilent(SshError):
    """The host may or may not have run the command."""

    code = "host_silent"


class HostKeyChanged(SshError):
    """The host has another key than the one that is pinned for it."""

    code = "host_key_changed"


class LoginRefused(SshError):
    """The host refuses the login."""

    code = "login_refused"


class StoreError(BurstError):
    """The object store did not do what was asked."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The object store cannot be reached."""

    code = "store_unavailable"
    retryable = True


class ChecksumMismatch(StoreError):
    """What was read is not what was written."""

    code = "checksum_mismatch"


class JobFailed(BurstError):
    """The job did not complete."""

    code = "job_failed"


class DoiError(BurstError):
    """The DOI registry did not do what was asked."""

    code = "doi_error"


class DoiUnavailable(DoiError):
    """The DOI registry cannot be reached; what was asked may have been done."""

    code = "doi_unavailable"
    retryable = True


class DoiRefused(DoiError):
    """The DOI registry refused it, or there is none."""

    code = "doi_refused"


class DatabaseUnavailable(BurstError):
    """The database does not answer."""

    code = "database_unavailable"
    retryable = True


class SetupError(BurstError):
    """This machine lacks something that is needed."""

    code = "setup"


class InstitutionUnavailable(BurstError):
    """The institution cannot sign in anybody now."""

    code = "institution_unavailable"
    retryable = True


class GatewayUnavailable(BurstError):
    """The gateway cannot be reached."""

    code = "gateway_unavailable"
    retryable = True


class BadReply(BurstError):
    """The answer is not the gateway's, or not the one to this request."""

    code = "bad_reply"


class BadProof(BurstError):
    """The proof does not hold."""

    code = "bad_proof"
