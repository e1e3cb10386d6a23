"""job_submit.lua in the Lua that slurmctld has (5.1), with nothing around it but the table that slurmctld gives it."""

from __future__ import annotations

from importlib import resources
from types import SimpleNamespace

import pytest
from lupa.lua51 import LuaRuntime

TEXT = resources.files("slurm_plugins").joinpath("job_submit.lua").read_text(encoding="utf-8")
TOKEN = "0123456789abcdef0123456789abcdef"
WAITS = "burst: waits for the gateway"
USER, ROOT, SLURM_USER = 1000, 0, 64030
NO_VAL, NO_VAL16 = 0xFFFFFFFE, 0xFFFE
NO_VAL64 = float(0xFFFFFFFFFFFFFFFE)  # as a Lua 5.1 number has it
INFINITE = 0xFFFFFFFF


class Plugin:
    """The script, loaded as slurmctld loads it; ``said`` is what users were told."""

    def __init__(self, text: str = TEXT) -> None:
        self.lua = LuaRuntime(register_eval=False, register_builtins=False)
        self.said: list[str] = []
        # Whatever could wait, read, write or call out is gone: a script that needed it would fail here.
        for name in ("io", "os", "require", "dofile", "loadfile", "loadstring", "load", "package", "debug", "print"):
            self.lua.globals()[name] = None
        self.lua.globals().slurm = self.lua.table_from(
            {
                "SUCCESS": 0,
                "ERROR": -1,
                "NO_VAL": NO_VAL,
                "NO_VAL16": NO_VAL16,
                "NO_VAL64": NO_VAL64,
                "log_user": lambda shape, *words: self.said.append(shape % words),
            }
        )
        assert self.lua.execute(text) == 0

    def submit(self, uid: int = USER, **fields: object) -> SimpleNamespace:
        """What becomes of a job description."""
        job = self.lua.table_from({"priority": NO_VAL, **fields})
        code = self.lua.globals().slurm_job_submit(job, self.lua.table(), uid)
        return SimpleNamespace(code=code, **dict(job))

    def modify(self, record: dict[str, object], uid: int = USER, **fields: object) -> int:
        """What is answered to a change of a job."""
        unset = {"priority": NO_VAL, "time_limit": NO_VAL, "min_nodes": NO_VAL, "ntasks_per_node": NO_VAL16}
        job = self.lua.table_from({**unset, "pn_min_memory": NO_VAL64, **fields})
        return self.lua.globals().slurm_job_modify(job, self.lua.table_from(record), self.lua.table(), uid)


@pytest.fixture
def plugin() -> Plugin:
    return Plugin()


@pytest.mark.parametrize("fields", [{}, {"partition": "main"}, {"partition": "cloudy"}, {"partition": "main,other"}])
def test_jobs_of_other_partitions_are_left_alone(plugin, fields):
    """Not one field of them is touched."""
    job = plugin.submit(**fields)

    assert vars(job) == {"code": 0, "priority": NO_VAL, **fields}


def test_a_job_of_the_cloud_is_held_until_the_gateway_has_seen_it(plugin):
    """It is accepted, and says what it waits for."""
    job = plugin.submit(partition="cloud")

    assert (job.code, job.priority, job.admin_comment) == (0, 0, WAITS)
    assert plugin.said == []


def test_a_job_that_its_owner_holds_says_so(plugin):
    """So that the gateway funds it and does not release it."""
    assert plugin.submit(partition="cloud", priority=0).admin_comment == f"{WAITS}, held by its owner"


@pytest.mark.parametrize("uid", [ROOT, SLURM_USER])
def test_a_job_that_the_gateway_itself_submits_is_not_held(uid):
    """It comes from an operator, under a token; anything less is held."""
    plugin = Plugin(TEXT.replace("local SLURM_USER = 0", f"local SLURM_USER = {SLURM_USER}"))

    assert plugin.submit(uid, partition="cloud", admin_comment=TOKEN).priority == NO_VAL
    assert plugin.submit(uid, partition="cloud", admin_comment=TOKEN[:-1] + "g").priority == 0
    assert plugin.submit(uid, partition="cloud", admin_comment=TOKEN + "0").priority == 0
    assert plugin.submit(USER, partition="cloud", admin_comment=TOKEN).priority == 0


@pytest.mark.parametrize("partitions", ["cloud,main", "main,cloud"])
def test_the_cloud_beside_other_partitions_is_refused(plugin, partitions):
    """Nobody could say beforehand whether such a job costs anything."""
    assert plugin.submit(partition=partitions).code == -1
    assert plugin.said == ["burst: name the partition cloud alone: its jobs are paid for"]


def test_a_job_cannot_be_moved_into_the_cloud(plugin):
    """It would come there without a hold."""
    assert plugin.modify({"partition": "main"}, partition="cloud") == -1
    assert plugin.modify({"partition": "main"}, partition="other") == 0
    assert plugin.modify({"partition": "main"}, time_limit=10) == 0


def test_an_unpaid_job_cannot_be_released_by_its_owner(plugin):
    """Neither by scontrol release nor by a priority; asking for less, leaving or holding is free."""
    record = {"partition": "cloud", "admin_comment": WAITS}

    assert plugin.modify(record, priority=INFINITE) == -1
    assert plugin.modify(record, priority=7) == -1
    assert [
        plugin.modify(record, **change) for change in ({"priority": 0}, {"time_limit": 5}, {"partition": "main"})
    ] == [
        0,
        0,
        0,
    ]


@pytest.mark.parametrize(
    "change", [{"time_limit": 9}, {"min_nodes": 3}, {"partition": "main"}, {"features": "large"}, {"pn_min_memory": 5}]
)
def test_a_paid_job_keeps_what_it_was_priced_for(plugin, change):
    """Its owner may hold and release it, no more."""
    record = {"partition": "cloud", "admin_comment": TOKEN}

    assert plugin.modify(record, **change) == -1
    assert plugin.modify(record, priority=INFINITE) == 0
    assert plugin.modify(record, priority=0) == 0
    assert plugin.modify(record, ROOT, **change) == 0


def test_another_name_of_the_partition_is_written_at_install():
    """The first lines are what burst site install fills in."""
    plugin = Plugin(TEXT.replace('local PARTITION = "cloud"', 'local PARTITION = "burst"'))

    assert plugin.submit(partition="burst").priority == 0
    assert plugin.submit(partition="cloud").priority == NO_VAL
