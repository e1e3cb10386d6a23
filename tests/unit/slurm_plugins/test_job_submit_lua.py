"""job_submit.lua in the Lua that slurmctld has (5.1), with nothing around it but the table that slurmctld gives it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import pytest
from lupa import lua51, lua54

TEXT = resources.files("slurm_plugins").joinpath("job_submit.lua").read_text(encoding="utf-8")
TOKEN = "0123456789abcdef0123456789abcdef"
WAITS = "burst: waits for the gateway"
USER, ROOT, SLURM_USER = 1000, 0, 64030
NO_VAL, NO_VAL16 = 0xFFFFFFFE, 0xFFFE
NO_VAL64 = float(0xFFFFFFFFFFFFFFFE)  # as a Lua 5.1 number has it
INFINITE = 0xFFFFFFFF


class Plugin:
    """The script, loaded as slurmctld loads it; ``said`` is what users were told."""

    def __init__(self, text: str = TEXT, *, lua=lua51, keeps: str = "") -> None:
        self.lua = lua.LuaRuntime(register_eval=False, register_builtins=False)
        self.said: list[str] = []
        self.errors: list[str] = []
        # Whatever could wait, read, write or call out is gone: a script that needed it would fail here.
        for name in ("io", "os", "require", "dofile", "loadfile", "loadstring", "load", "package", "debug", "print"):
            if name != keeps:
                self.lua.globals()[name] = None
        self.lua.globals().slurm = self.lua.table_from(
            {
                "SUCCESS": 0,
                "ERROR": -1,
                "NO_VAL": NO_VAL,
                "NO_VAL16": NO_VAL16,
                "NO_VAL64": NO_VAL64,
                "log_user": lambda shape, *words: self.said.append(shape % words),
                "log_error": lambda shape, *words: self.errors.append(shape % words),
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
def test_the_cloud_beside_other_partitions_is_asked_for_and_not_waited_for(plugin, partitions):
    """The job is the site's own at first, neither held nor delayed; the gateway adds the cloud once it is paid for."""
    job = plugin.submit(partition=partitions)

    assert (job.code, job.partition, job.priority) == (0, "main", NO_VAL)
    assert job.admin_comment == "burst: may go to the cloud"
    assert plugin.submit(partition="a,cloud,b").partition == "a,b"


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


OWN = """
helper = 7
function slurm_job_submit(job, partitions, uid)
  if job.name == "no" then slurm.log_user("%s", "the site refuses") return slurm.ERROR end
  if job.name == "breaks" then return job.none.at_all end
  if job.name == "silent" then return end
  job.comment = "seen " .. helper
  if job.name == "route" then job.partition = "cloud" end
  return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, uid)
  if job.name == "no" then return 2055 end
  return slurm.SUCCESS
end
return slurm.SUCCESS
"""


def chained(folder: Path, own: str, lua=lua51) -> Plugin:
    """Ours, with a script that the site had before."""
    (folder / "job_submit.site.lua").write_text(own)
    return Plugin(
        TEXT.replace('local SITES_OWN = ""', f'local SITES_OWN = "{folder}/job_submit.site.lua"'),
        lua=lua,
        keeps="loadfile",
    )


@pytest.mark.parametrize("lua", [lua51, lua54], ids=["5.1", "5.4"])
def test_the_site_s_own_script_is_called_first(tmp_path, lua):
    """What it refuses is refused, what it changes is what we see; it works in every Lua that Slurm is built with."""
    plugin = chained(tmp_path, OWN, lua)

    assert plugin.submit(partition="cloud", name="no").code == -1
    assert plugin.said == ["the site refuses"]
    job = plugin.submit(partition="cloud")
    assert (job.comment, job.priority) == ("seen 7", 0)
    assert plugin.submit(partition="main", name="route").priority == 0
    assert plugin.submit(partition="main").priority == NO_VAL
    assert plugin.submit(partition="cloud", name="silent").priority == 0
    assert plugin.modify({"partition": "main"}, name="no") == 2055
    assert plugin.errors == []


def test_an_error_in_the_site_s_own_script_is_logged_and_no_refusal(tmp_path):
    """As slurmctld itself takes it; the hold that is ours is put on all the same."""
    plugin = chained(tmp_path, OWN)

    job = plugin.submit(partition="cloud", name="breaks")

    assert (job.code, job.priority) == (0, 0)
    assert "job_submit.site.lua:5:" in plugin.errors[0]


@pytest.mark.parametrize("own", ["this is no Lua", "error('at once')"])
def test_a_site_s_own_script_that_cannot_be_loaded_does_not_keep_slurmctld_from_starting(tmp_path, own):
    """It is logged; a file that is gone, too."""
    assert "is not in force" in chained(tmp_path, own).errors[0]
    gone = Plugin(TEXT.replace('local SITES_OWN = ""', 'local SITES_OWN = "/nowhere/own.lua"'), keeps="loadfile")
    assert "is not in force" in gone.errors[0]
    assert gone.submit(partition="cloud").priority == 0


def test_an_error_in_ours_lets_the_job_go_its_ordinary_way(plugin):
    """Whatever slurmctld may hand over one day: it is logged, and no job is refused for it."""
    job = plugin.submit(partition=7)

    assert job.code == 0
    assert plugin.modify({"partition": 7}, partition=7) == 0
    broken = plugin.lua.globals().slurm_job_submit(None, None, USER)
    assert broken == 0
    assert len(plugin.errors) >= 1


class Filter:
    """cli_filter.lua in the same bare Lua."""

    def __init__(self) -> None:
        text = resources.files("slurm_plugins").joinpath("cli_filter.lua").read_text(encoding="utf-8")
        self.lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
        self.said: list[str] = []
        for name in ("io", "os", "require", "dofile", "loadfile", "loadstring", "load", "package", "debug", "print"):
            self.lua.globals()[name] = None
        logs = {"SUCCESS": 0, "ERROR": -1, "log_info": lambda shape, *words: self.said.append(shape % words)}
        self.lua.globals().slurm = self.lua.table_from(logs)
        assert self.lua.execute(text) == 0

    def submit(self, **options: str) -> int:
        """What sbatch gives to it before it submits."""
        table = self.lua.table_from({name.replace("_", "-"): value for name, value in options.items()})
        return self.lua.globals().slurm_cli_pre_submit(table, 0)


def test_the_filter_says_what_a_cloud_job_lacks_and_refuses_nothing():
    """No time limit, GPUs that are not there; of other partitions it says nothing."""
    filter_ = Filter()

    assert filter_.submit(partition="main") == 0
    assert filter_.submit(partition="main,cloud", time="10:00") == 0
    assert filter_.said == []
    assert filter_.submit(partition="cloud", gres="gpu:1") == 0
    assert [sentence.split(":")[0] for sentence in filter_.said] == ["burst", "burst"]
    assert "no --time was given" in filter_.said[0]
    assert "no GPUs" in filter_.said[1]


def test_the_filter_never_fails_a_command():
    """Whatever the command hands over."""
    filter_ = Filter()

    assert filter_.lua.globals().slurm_cli_pre_submit(None, 0) == 0
    assert filter_.lua.globals().slurm_cli_setup_defaults(None, True) == 0
    assert filter_.lua.globals().slurm_cli_post_submit(0, 1, 0) == 0
