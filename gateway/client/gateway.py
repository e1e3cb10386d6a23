"""Gateway: what a user can ask of a gateway, as plain calls.

Invariant: a call that was cut off may be repeated; a submission carries one Idempotency-Key through all its tries.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from gateway import wire
from gateway.client import inputs, transfer
from gateway.client.audit import Audit
from gateway.client.money import in_credits
from gateway.client.session import Session
from gateway.client.shares import Shares
from gateway.errors import InsufficientFunds, NotFound, ScriptError
from gateway.intake import script

_FIRST_LOOK_S = 0.1
_LONGEST_LOOK_S = 2.0


@dataclass(frozen=True)
class Submission:
    """A job as it is typed: script text, what follows it, sbatch's options and where it was submitted.

    ``stage_in`` are inputs named outside the script, each ``SOURCE[:DESTINATION]``; sources that are not absolute are
    looked up below ``directory``.
    """

    script: str
    name: str = "sbatch"
    options: Sequence[str] = ()
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path = field(default_factory=Path.cwd)
    stage_in: Sequence[str] = ()
    max_cost_ucr: int | None = None
    in_place: bool = False
    """Run in ``directory`` itself, on a file system that nodes share with this machine."""


class Gateway:
    """One user's view of a gateway. Every method raises the gateway's own errors (``gateway.errors``).

    >>> gateway = Gateway(Session.saved())
    >>> job = gateway.submit(Submission(read_script(Path("job.sh")), "job.sh", options=["-N2"]))
    >>> gateway.wait(job.id).exit_code
    0
    >>> gateway.fetch(job.id, Path("results"))
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.shares = Shares(session)
        self.audit = Audit(session)

    def submit(self, job: Submission, key: str | None = None) -> wire.JobView:
        """Upload what the job reads, then submit it; nothing is uploaded for a job that would be refused.

        ``key`` is its Idempotency-Key: the same key again, within a day, is answered with the same job.
        """
        found = inputs.find(job.script, job.stage_in, job.directory)
        request = _request(job, found)
        if found:
            refuse_unfunded(self._quote(request, job.max_cost_ucr))
            inputs.upload(found, self.session)
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return self.session.post("/jobs", request, wire.JobView, headers=headers, max_spend_ucr=job.max_cost_ucr)

    def quote(self, job: Submission) -> wire.Quote:
        """What the job can cost at most; nothing is created or uploaded."""
        return self._quote(_request(job, inputs.find(job.script, job.stage_in, job.directory)), job.max_cost_ucr)

    def job(self, job: int | str) -> wire.JobView:
        """One job, by ``12``, ``12_3`` or the gateway's own id."""
        return self.session.get(f"/jobs/{_part(job)}", wire.JobView)

    def jobs(self, *, state: str | None = None, limit: int | None = None) -> Iterator[wire.JobView]:
        """Jobs, newest first, fetched a page at a time; ``limit`` ends it early."""
        seen, cursor = 0, None
        while True:
            page = self.session.get(
                "/jobs", wire.JobPage, cursor=cursor, limit=limit and min(limit - seen, 100), state=state
            )
            yield from page.jobs
            seen, cursor = seen + len(page.jobs), page.next
            if cursor is None or (limit is not None and seen >= limit):
                return

    def watch(self, job: int | str) -> Iterator[wire.JobView]:
        """The job now, and again each time that it changes, until it has finished."""
        last, pause = None, _FIRST_LOOK_S
        while True:
            view = self.job(job)
            if view != last:
                last, pause = view, _FIRST_LOOK_S
                yield view
            if view.finished:
                return
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK_S)

    def wait(self, job: int | str, on_change: Callable[[wire.JobView], object] | None = None) -> wire.JobView:
        """Wait until the job has settled; ``on_change`` sees every view on the way."""
        for view in self.watch(job):
            if on_change:
                on_change(view)
        return view

    def cancel(self, job: int | str) -> wire.JobView:
        """End a job; what it made so far is staged out, and the rest of its hold released."""
        return self.session.post(f"/jobs/{_part(job)}/cancel", None, wire.JobView)

    def revoke_credential(self, job: int | str) -> wire.JobView:
        """End every credential that a job was given so far, with all that came from it; the job itself goes on."""
        return self.session.post(f"/jobs/{_part(job)}/revoke-credential", None, wire.JobView)

    def outputs(self, job: int | str) -> wire.Outputs:
        """The files that the job left, with presigned URLs."""
        return self.session.get(f"/jobs/{_part(job)}/outputs", wire.Outputs)

    def fetch(self, job: int | str, destination: Path) -> wire.Outputs:
        """Download the job's files below ``destination``; those that are there with the right SHA-256 are kept.

        Raises ChecksumMismatch for content that is not the manifest's, StoreError for a path that leaves it.
        """
        found = self.outputs(job)
        transfer.fetch(found.files, destination)
        return found

    def logs(self, job: int | str, stream: str = "stdout") -> str:
        """What the job wrote so far to ``stdout`` or ``stderr``."""
        return self.session.request("GET", f"/jobs/{_part(job)}/logs?stream={_part(stream)}").text

    def receipt(self, job: int | str) -> wire.Receipt:
        """What the job used and paid. Raises NotFound until it has settled."""
        return self.session.get(f"/jobs/{_part(job)}/receipt", wire.Receipt)

    def peers(self) -> list[wire.PeerView]:
        """The gateways that this one trusts."""
        return self.session.get("/peers", list[wire.PeerView])

    def trust(self, peer: wire.PeerRequest) -> wire.PeerView:
        """Trust a gateway, or change for what (administrators)."""
        return self.session.post("/peers", peer, wire.PeerView)

    def distrust(self, name: str) -> None:
        """Trust a gateway no more (administrators)."""
        self.session.request("DELETE", f"/peers/{quote(name, safe='')}")

    def proof(self, job: int | str) -> bytes:
        """The receipt with all that proves it, as ``burst verify`` reads it. Raises NotFound until it has settled."""
        return self.session.request("GET", f"/jobs/{_part(job)}/proof").content

    def balance(self) -> tuple[wire.Balance, ...]:
        """The money of each account that the user may spend from."""
        return self.session.get("/balance", tuple[wire.Balance, ...])

    def credit(self, account: str, amount_ucr: int, memo: str) -> wire.Balance:
        """Give credits to an account; only an admin may."""
        body = wire.CreditRequest(amount_ucr=amount_ucr, memo=memo)
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        return self.session.post(f"/accounts/{_part(account)}/credits", body, wire.Balance, headers=headers, safe=False)

    def units(self) -> tuple[wire.UnitView, ...]:
        """The simulation units that a job can be paid in."""
        return self.session.get("/units", tuple[wire.UnitView, ...])

    def budgets(self) -> tuple[wire.BudgetView, ...]:
        """The budgets of the user's accounts."""
        return self.session.get("/budgets", tuple[wire.BudgetView, ...])

    def set_budget(
        self, account: str, limit_ucr: int, *, stops: bool = False, since: datetime | None = None
    ) -> wire.BudgetView:
        """Set an account's budget: refuse what does not fit, or with ``stops`` end running jobs at the limit."""
        body = wire.BudgetRequest(limit_ucr=limit_ucr, stops=stops, since=since)
        return self.session.post(f"/accounts/{_part(account)}/budget", body, wire.BudgetView)

    def remove_budget(self, account: str) -> None:
        """Remove an account's budget. Raises NotFound."""
        self.session.request("DELETE", f"/accounts/{_part(account)}/budget")

    def report(
        self, by: Sequence[str] = (), *, since: datetime | None = None, until: datetime | None = None
    ) -> wire.Report:
        """Spending by "month", "account" and "user", or any of them."""
        times = {"since": since and since.isoformat(), "until": until and until.isoformat()}
        query = urlencode([*(("by", one) for one in by), *((n, at) for n, at in times.items() if at)])
        return self.session.get(f"/report?{query}" if query else "/report", wire.Report)

    def publish(self, job: int | str, said: wire.PublishRequest) -> wire.PublicationView:
        """Give the job's outputs a findable DOI; asked again, the same one. Raises DoiRefused, DoiUnavailable."""
        return self.session.post(f"/jobs/{_part(job)}/publication", said, wire.PublicationView)

    def publications(self) -> tuple[wire.PublicationView, ...]:
        """The user's publications, newest first."""
        return self.session.get("/publications", tuple[wire.PublicationView, ...])

    def grant(self, publication: str, user: str) -> wire.PublicationView:
        """Let a user read the files of a publication, named by its DOI or its suffix."""
        path = f"/publications/{_suffix(publication)}/grants"
        return self.session.post(path, wire.GrantRequest(user=user), wire.PublicationView)

    def revoke(self, publication: str, user: str) -> None:
        """Take a grant back."""
        self.session.request("DELETE", f"/publications/{_suffix(publication)}/grants/{_part(user)}")

    def published_files(self, publication: str) -> wire.PublishedFiles:
        """The files of a publication, with presigned URLs. Raises Refused, which says how to ask."""
        return self.session.get(f"/publications/{_suffix(publication)}/files", wire.PublishedFiles)

    def nodes(self) -> tuple[wire.NodeView, ...]:
        """The elastic nodes that exist or are being made."""
        return self.session.get("/nodes", tuple[wire.NodeView, ...])

    def node(self, name: str) -> wire.NodeView:
        """One node, with or without a machine. Raises NotFound."""
        return self.session.get(f"/nodes/{_part(name)}", wire.NodeView)

    def node_login(self, node: str, public_key: str) -> wire.NodeLogin:
        """A certificate to log in to a node with, for a key "ssh-ed25519 BASE64". Raises Refused, NotFound."""
        body = wire.NodeLoginRequest(public_key=public_key)
        return self.session.post(f"/nodes/{_part(node)}/ssh", body, wire.NodeLogin)

    def offers(self) -> tuple[wire.OfferView, ...]:
        """What can be had, and for how much."""
        return self.session.get("/offers", tuple[wire.OfferView, ...])

    def close(self) -> None:
        """Close its connections."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _quote(self, request: wire.SubmitRequest, max_cost_ucr: int | None) -> wire.Quote:
        return self.session.post("/quotes", request, wire.Quote, max_spend_ucr=max_cost_ucr)


def read_script(path: Path) -> str:
    """The text of a job script. Raises ScriptError in sbatch's words where sbatch refuses too."""
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        raise ScriptError("Batch script is empty!", hint=f"{path} is a directory; name a script") from None
    except OSError as error:
        raise ScriptError(f"Unable to open file {path}", hint=f"{error.strerror}; check the path") from None
    return script.decode(content)


def refuse_unfunded(quote: wire.Quote) -> None:
    """Raise InsufficientFunds, with the figures, for a quote that its account cannot cover."""
    if quote.total_ucr > quote.balance_ucr:
        raise InsufficientFunds(
            f"account {quote.account} has {in_credits(quote.balance_ucr)} "
            f"and the job can cost {in_credits(quote.total_ucr)}",
            hint="ask for less (--time, --nodes), or ask an admin for credits",
        )


def _request(job: Submission, found: Sequence[inputs.LocalFile]) -> wire.SubmitRequest:
    return wire.SubmitRequest(
        script=job.script,
        script_name=job.name,
        arguments=tuple(job.arguments),
        options=tuple(job.options),
        environment=dict(job.environment),
        submit_directory=os.fspath(job.directory.absolute()),
        inputs=tuple(file.declared for file in found),
        in_place=job.in_place,
    )


def _suffix(publication: str) -> str:
    """What a publication is named by in a path: the last part of its DOI, or of its URL."""
    return _part(publication.rstrip("/").rpartition("/")[2])


def _part(text: int | str) -> str:
    """One path segment: a job id from the command line never becomes another path."""
    if not str(text):
        raise NotFound("no job was named", hint="burst jobs")
    return quote(str(text), safe="")
