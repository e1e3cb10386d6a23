"""Money: prices, quotes, receipts, balances, budgets, reports."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from gateway.wire.form import MOST_UCR, ONE_LINE, Request, View


class QuoteLine(View):
    """One priced line."""

    text: str
    quantity: float
    unit: str
    amount_ucr: int


class ChoiceView(View):
    """One offer that was considered: what its machines and the job's data cost there, and why it is chosen or not."""

    offer: str
    """The size of node."""
    supply: str
    """Where such a node would come from, "CLOUD/SIZE[@ZONE][+spot]"."""
    cloud: str
    zone: str
    market: str
    nodes: int
    """0: the job does not fit."""
    price_ucr_per_hour: int | None
    """Of one machine; None: not known."""
    compute_ucr: int
    egress_ucr: int
    total_ucr: int
    chosen: bool
    why: str


class Quote(View):
    """The most that a job can cost, and why."""

    offer: str
    lines: tuple[QuoteLine, ...]
    total_ucr: int
    balance_ucr: int
    account: str
    choices: tuple[ChoiceView, ...] = ()


class Receipt(View):
    """What a job used and paid; signed by the gateway."""

    number: str
    job: int | None
    burst_id: str
    account: str
    lines: tuple[QuoteLine, ...]
    held_ucr: int
    charged_ucr: int
    refunded_ucr: int
    settled_at: datetime
    authorisation: str
    signature: str


class Balance(View):
    """An account's money."""

    account: str
    available_ucr: int
    held_ucr: int


class CreditRequest(Request):
    """Credits given to an account by an admin."""

    amount_ucr: int = Field(gt=0, le=MOST_UCR)
    memo: str = Field(min_length=1, max_length=200, pattern=ONE_LINE)


class UnitView(View):
    """A simulation unit that can be ordered in place of node time."""

    code: str
    title: str
    price_ucr: int
    meter: str
    file: str
    pattern: str
    most_node_seconds: int | None


class BudgetRequest(Request):
    """An account's budget. Without ``since`` it keeps its day; a new one counts from now on."""

    limit_ucr: int = Field(ge=0, le=MOST_UCR)
    stops: bool = False
    since: datetime | None = None


class BudgetView(View):
    """A budget and what counts against it: charged, and held by jobs that are not settled."""

    account: str
    limit_ucr: int
    stops: bool
    since: datetime
    set_by: str
    charged_ucr: int
    held_ucr: int


class ReportRow(View):
    """What the jobs of one group used and paid; ``keys`` are its values in the dimensions of the report."""

    keys: tuple[str, ...]
    jobs: int
    spend_ucr: int
    units: dict[str, int]


class Report(View):
    """Spending by group; the rows sum to the totals."""

    by: tuple[str, ...]
    rows: tuple[ReportRow, ...]
    jobs: int
    spend_ucr: int


class SupplyView(View):
    """Where nodes of an offer may come from, at what price, and whether it is asked now."""

    name: str
    """ "CLOUD/SIZE[@ZONE][+spot]"."""
    cloud: str
    size: str
    zone: str
    market: str
    bare_metal: bool
    price_ucr_per_hour: int | None
    """None: not known, and nothing is ordered there."""
    price_source: str
    price_as_of: datetime | None
    warning: str
    open: bool
    why: str
    """Why it is shut."""
    until: datetime | None
    in_use: int
    max_nodes: int | None
    """Most at once, in all zones and markets together; None: as many as there are."""
    in_ucr_per_gb: int
    out_ucr_per_gb: int


class OfferView(View):
    """What can be had, and for how much; ``supplies`` are asked in this order for a job of which nothing is known."""

    name: str
    provider: str
    cores: int
    memory_mb: int
    gpus: int
    max_nodes: int
    in_use: int
    price_ucr_per_hour: int
    """0: nothing of it may be ordered now."""
    gpu_type: str = ""
    supplies: tuple[SupplyView, ...] = ()
