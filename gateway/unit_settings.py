"""Unit settings: the simulation units that a site sells, as they are written; docs/money.md explains them."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
