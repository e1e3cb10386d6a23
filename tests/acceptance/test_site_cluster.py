"""A site's own Slurm, configured without us: extended, used by its own users with its own sbatch, and given back."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from foreign_cluster import LOCAL, OWN_LUA, USER, ForeignCluster, foreign_cluster
from gateway_site import Answer, Site, eventually, site_in

from gateway.accounting.settle import verify_receipt
from gateway.bootstrap.rings import signing_keys
from gateway.identity.evidence import verify_evidence
from gateway.wire import JobView

pytestmark = [
    pytest.mark.timeout(900),  # the fixture's part counts, and the machine may be slow
    pytest.mark.root,
    pytest.mark.skipif(os.getuid() != 0, reason="a site's slurmd, and so its gateway, runs as root"),
]

OTHER = "news"
"""A user of the site who is somebody of another name at the gateway."""
POOR = "nobody"
"""Another of the site's users, who has no account at the gateway to begin with."""
AT_ONCE_S = 8.0
"""slurmctld answers sbatch in milliseconds; what waited for a gateway that is away would take far longer than this."""


@dataclass(frozen=True)
class Extended:
    """The site, its gateway, what its configuration was before and after a dry run, and what that showed."""

    cluster: ForeignCluster
    gateway: Site
    before: dict[str, tuple[str, int, int]]
    shown: Answer
    unasked: dict[str, tuple[str, int, int]]

    def settled(self, number: int, user: str = USER) -> JobView:
        """Wait until the gateway has settled a job of Slurm's."""
        with self.gateway.login(user) as gateway:
            eventually(lambda: _known(gateway, number), f"job {number} taken in")
            return eventually(lambda: (view := gateway.job(str(number))).finished and view, f"job {number} settled")


def _known(gateway, number: int) -> bool:
    return any(job.id == number for job in gateway.jobs())


def _install(cluster: ForeignCluster, gateway: Site, *words: str) -> Answer:
    words = (*words, "--cli-filter")
    where = ("--slurm-conf", str(cluster.conf), "--munge-key", str(cluster.munge_key), "--dir", str(gateway.directory))
    return gateway.burst("site", "install", *where, *words, user=None)


def _let_burst(gateway: Site) -> None:
    """As its administrator says in burst.toml: what Slurm expects to wait for more than a minute may go."""
    file = gateway.directory / "burst.toml"
    said = 'site = {burst = {partitions = ["main"], accounts = ["*"], after_min = 1}, '
    file.write_text(file.read_text().replace("site = {", said))


@pytest.fixture(scope="module")
def site() -> Iterator[Extended]:
    """A foreign cluster that was extended, its gateway up, and its researcher with an account of 20 credits."""
    with foreign_cluster() as cluster, site_in(start=False, idle_s=30) as gateway:
        before = cluster.files()
        shown = _install(cluster, gateway)
        unasked = cluster.files()
        done = _install(cluster, gateway, "--apply")
        assert done.code == 0, done.err + done.out
        _let_burst(gateway)
        gateway.up()
        user = gateway.burst("site", "user", USER, "--credits=20", "--dir", str(gateway.directory), user=None)
        assert user.code == 0, user.err
        cluster.home.chmod(0o777)
        try:
            yield Extended(cluster, gateway, before, shown, unasked)
        except BaseException:
            print(gateway.last_words())  # noqa: T201 - for a failed test
            raise


def test_the_whole_difference_is_shown_before_anything_changes(site):
    """A dry run leaves every byte; what it shows is what then is written."""
    assert site.shown.code == 0, site.shown.err
    assert site.unasked == site.before

    added = [line[1:] for line in site.shown.out.splitlines() if line[:1] == "+" and line[:3] != "+++"]
    assert "Include burst.conf" in added
    written = (site.cluster.etc / "burst.conf").read_text().splitlines()
    assert written == [line for line in written if line in added]
    taken_out = [line for line in site.shown.out.splitlines() if line[:1] == "-" and line[:3] != "---"]
    # Of slurm.conf the last line only had no newline; job_submit.lua is another file now.
    assert taken_out[-1][1:] == site.cluster.conf.read_text().splitlines()[-4]
    assert {line[1:] for line in taken_out[:-1]} <= set(OWN_LUA.splitlines())
    for line in ("stays as job_submit.site.lua and is called first", "resume-rack5 stays: ResumeProgram of ours"):
        assert line in site.shown.out
    assert "ok    rehearsal" in site.shown.out


def test_the_sites_own_sbatch_bursts(site):
    """Its own user, its own sbatch, no #BURST line: a new node, outputs in the store, a signed receipt, its owner."""
    cluster = site.cluster
    nodes_before = set(_machines(site))

    number = cluster.sbatch("id -un; pwd; echo energy -42.1 > result.txt", "-p", "cloud", "--time=10")
    ended = cluster.until(number, "COMPLETED", "FAILED", "CANCELLED")
    view = site.settled(number)

    assert ended["JobState"] == "COMPLETED"
    assert ended["NodeList"] in _machines(site) - nodes_before
    assert (view.user, view.account, view.state) == (USER, USER, "COMPLETED")
    assert Path(ended["StdOut"]).read_text() == f"{USER}\n{cluster.home}\n"
    fetched = site.gateway.burst("fetch", str(number), "--json", user=USER, cwd=site.gateway.directory.parent)
    assert fetched.code == 0, fetched.err
    with site.gateway.login(USER) as gateway:
        found = {file.path: file.sha256 for file in gateway.outputs(str(number)).files}
    for name in ("result.txt", f"slurm-{number}.out"):
        assert found[name] == hashlib.sha256((cluster.home / name).read_bytes()).hexdigest()


def test_its_receipt_and_evidence_hold(site):
    """The hold was given back but for what ran; the evidence verifies, and names uid and job as slurmctld has them."""
    number = site.cluster.sbatch("true", "-p", "cloud", "--time=7")
    view = site.settled(number)

    with site.gateway.work() as work:
        job = work.jobs.get(view.burst_id)
        receipt = work.receipts.of(job.id)
        evidence = work.evidence.get(receipt.authorisation)
    ring = signing_keys(site.gateway.machine.settings, site.gateway.machine.sealer)
    verify_receipt(receipt, ring.verify)
    assert receipt.held_ucr == 7 * 60 * 1_200_000 // 3600
    assert 0 < receipt.charged_ucr < receipt.held_ucr

    claims = verify_evidence(evidence, site.gateway.machine.audience)
    assert claims.max_spend_ucr == receipt.held_ucr
    assert f'"job": {number}' in evidence.body.decode()
    uid = site.cluster.job(number)["UserId"]
    assert uid == f"{USER}({evidence.body.decode().split(chr(34) + 'uid' + chr(34) + ': ')[1].split(',')[0]})"


def test_a_hold_of_the_owner_is_honoured(site):
    """sbatch --hold: the money is put by, it starts when its owner releases it and as it was priced."""
    number = site.cluster.sbatch("true", "-p", "cloud", "--time=5", "--hold")
    with site.gateway.login(USER) as gateway:
        eventually(lambda: _known(gateway, number), "taken in")
        eventually(lambda: gateway.job(str(number)).stage == "queued", "funded")

    assert site.cluster.job(number)["Reason"] == "JobHeldUser"
    longer = site.cluster.run("scontrol", "update", f"job={number}", "timelimit=50", user=USER)
    assert "money is held for the job as it is" in longer.err
    released = site.cluster.run("scontrol", "release", str(number), user=USER)

    assert released.code == 0, released.err
    assert site.cluster.until(number, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"


def test_the_sites_own_partition_is_as_before(site):
    """A job of another partition runs on the site's own node, and the gateway neither holds nor records it."""
    number = site.cluster.sbatch("hostname")

    ended = site.cluster.until(number, "COMPLETED", "FAILED")

    assert (ended["JobState"], ended["NodeList"]) == ("COMPLETED", "n1")
    assert site.cluster.comment(number) == ""
    assert ended["Comment"].startswith("seen")
    with site.gateway.login(USER) as gateway:
        assert not _known(gateway, number)


@pytest.fixture
def full(site) -> Iterator[list[int]]:
    """The site's own partition has no room for an hour."""
    jobs = [site.cluster.sbatch("sleep 3600", "--exclusive", "--time=60") for _ in range(2)]
    for number in jobs:
        site.cluster.until(number, "RUNNING")
    yield jobs
    site.cluster.run("scancel", *map(str, jobs))
    for number in jobs:
        site.cluster.until(number, "CANCELLED")


def test_a_job_for_both_starts_at_home_where_there_is_room(site):
    """sbatch -p main,cloud on a quiet site: no wait, no money, and the gateway has nothing to do with it."""
    number = site.cluster.sbatch("true", "-p", "main,cloud", "--time=5")

    ended = site.cluster.until(number, "COMPLETED", "FAILED")

    assert ended["NodeList"] in LOCAL
    with site.gateway.login(USER) as gateway:
        assert not _known(gateway, number)


@pytest.mark.parametrize("options", [("-p", "main,cloud"), ()], ids=["by wish", "by Slurm's estimate"])
def test_a_job_that_would_wait_goes_to_the_cloud(site, full, options):
    """An unchanged script: with its owner's word at once, without when Slurm expects it too late. It is paid for."""
    number = site.cluster.sbatch("hostname > where.txt", "--time=5", *options)

    ended = site.cluster.until(number, "COMPLETED", "FAILED")
    view = site.settled(number)

    assert ended["JobState"] == "COMPLETED"
    assert ended["NodeList"] not in LOCAL
    assert ended["Partition"] == "cloud"
    assert (view.state, view.user) == ("COMPLETED", USER)
    with site.gateway.work() as work:
        assert work.receipts.of(view.burst_id).charged_ucr > 0


@pytest.mark.long
def test_a_funded_job_that_finds_room_at_home_costs_nothing(site, full):
    """Money was put by, the cloud had no node, the site's own was free first: settled at zero, with its real end."""
    cluster = site.cluster
    cluster.run("scontrol", "update", "partition=cloud", "state=down")
    try:
        number = cluster.sbatch("exit 3", "-p", "main,cloud", "--time=5")
        with site.gateway.login(USER) as gateway:
            eventually(lambda: _known(gateway, number), "funded")
        cluster.run("scancel", str(full[0]))
        ended = cluster.until(number, "COMPLETED", "FAILED")
        view = site.settled(number)
    finally:
        cluster.run("scontrol", "update", "partition=cloud", "state=up")

    assert ended["NodeList"] in LOCAL
    assert (view.state, view.exit_code) == ("FAILED", 3)
    with site.gateway.work() as work:
        receipt = work.receipts.of(view.burst_id)
    assert (receipt.charged_ucr, receipt.refunded_ucr) == (0, receipt.held_ucr)


def test_the_command_says_beforehand_what_makes_a_job_dear(site):
    """cli_filter.lua in the site's own sbatch: words only, and none for other partitions."""
    file = site.cluster.home / "plain.sh"
    file.write_text("#!/bin/sh\ntrue\n")
    dear = site.cluster.run("sbatch", "--hold", "-p", "cloud", str(file), user=USER)
    plain = site.cluster.run("sbatch", "--hold", str(file), user=USER)
    limited = site.cluster.run("sbatch", "--hold", "-p", "cloud", "-t", "3", str(file), user=USER)

    site.cluster.run("scancel", "-u", USER)
    assert "burst: no --time was given" in dear.err
    assert [plain.code, limited.code, plain.err, limited.err] == [0, 0, "", ""]


def test_a_user_of_another_name_proves_both(site):
    """burst site claim: signed at the gateway, submitted as the Unix user; from then on one pays for the other."""
    directory = str(site.gateway.directory)
    site.gateway.burst("site", "user", "ann", "--credits=5", "--dir", directory, user=None)
    said = site.gateway.burst("site", "claim", "--as", OTHER, "--json", user="ann")
    assert said.code == 0, said.err
    command = json.loads(said.out)["command"]

    stolen = site.cluster.run(*command, "--parsable", user=POOR)
    claimed = site.cluster.run(*command, "--parsable", user=OTHER)

    assert claimed.code == 0, claimed.err
    assert site.cluster.until(int(claimed.out), "CANCELLED", "COMPLETED", "FAILED")["JobState"] == "CANCELLED"
    eventually(lambda: "this claim is for" in site.cluster.comment(int(stolen.out)), "another's is refused")
    site.cluster.run("scancel", stolen.out.strip())
    people = site.gateway.burst("site", "people", "--json", "--dir", directory, user=None)
    (link,) = json.loads(people.out)["people"]
    assert (link["unix"], link["user"], link["by"]) == (OTHER, "ann", "its owner's signature and munge")
    number = site.cluster.sbatch("true", "-p", "cloud", "--time=5", user=OTHER)
    assert site.cluster.until(number, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
    assert site.settled(number, "ann").user == "ann"


def test_a_job_that_nobody_pays_for_waits_and_says_why(site):
    """Without an account it stays held, also against its owner; with one it starts by itself."""
    cluster = site.cluster
    number = cluster.sbatch("true", "-p", "cloud", "--time=5", user=POOR)
    eventually(lambda: "has no account" in cluster.comment(number), "it says why")
    said = cluster.comment(number)

    released = cluster.run("scontrol", "release", str(number), user=POOR)

    assert f"burst site user {POOR}" in said
    assert released.code != 0
    assert "paid for" in released.err
    assert cluster.job(number)["Reason"].startswith("JobHeld")
    site.gateway.burst("site", "user", POOR, "--credits=1", "--dir", str(site.gateway.directory), user=None)
    assert cluster.until(number, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
    assert site.settled(number, POOR).user == POOR


def test_a_job_that_got_past_the_hold_is_sent_back(site):
    """An administrator releases what nobody paid for: it goes back into the queue, held, and nothing of it has run."""
    cluster = site.cluster
    mark = cluster.home / "ran.txt"
    number = cluster.sbatch(f"sleep 3; touch {mark}", "-p", "cloud", "--time=1-00:00:00", user=POOR)
    eventually(lambda: "credits too little" in cluster.comment(number), "it says why")

    cluster.run("scontrol", "release", str(number))
    eventually(lambda: cluster.job(number)["Restarts"] == "1", "sent back")

    assert cluster.until(number, "PENDING")["Priority"] == "0"
    assert not mark.exists()
    cluster.run("scancel", str(number))


def test_a_gateway_job_runs_as_its_owner(site):
    """burst submit at the same gateway: the job goes to the cloud partition and runs as the site's user."""
    view = site.gateway.submit("id -un", "--time=3", user=USER)

    view = site.gateway.finish(view, USER)

    assert view.state == "COMPLETED", view.reason
    assert site.gateway.burst("logs", str(view.id), user=USER).out == f"{USER}\n"
    assert site.cluster.job(view.id)["Partition"] == "cloud"


def test_the_site_works_on_while_the_gateway_is_dead(site):
    """kill -9: the own partition runs jobs, the cloud's are taken at once and wait, and so does one whose node is being
    made; up again, they run."""
    cluster = site.cluster
    paid = cluster.sbatch("true", "-p", "cloud", "--time=5", "--hold")
    with site.gateway.login(USER) as gateway:
        eventually(lambda: _known(gateway, paid) and gateway.job(str(paid)).stage == "queued", "funded")
    cold = _cold_node(site)
    cluster.run("scontrol", "update", f"job={paid}", f"reqnodelist={cold}")
    pid = int((site.gateway.directory / "run/gateway.pid").read_text().split()[0])
    os.kill(pid, 9)

    begun = time.monotonic()
    waiting = cluster.sbatch("echo late > late.txt", "-p", "cloud", "--time=5")
    took = time.monotonic() - begun
    own = cluster.sbatch("true", "-p", "main")

    cluster.run("scontrol", "release", str(paid))
    assert cluster.until(paid, "CONFIGURING", "RUNNING", "FAILED")["JobState"] == "CONFIGURING"
    assert took < AT_ONCE_S
    assert cluster.until(own, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
    assert cluster.comment(waiting) == "burst: waits for the gateway"
    assert cluster.job(waiting)["Reason"].startswith("JobHeld")
    assert cluster.job(paid)["JobState"] == "CONFIGURING"
    site.gateway.up()
    assert cluster.until(paid, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
    assert cluster.until(waiting, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
    assert site.settled(waiting).state == "COMPLETED"


def test_a_second_installation_changes_nothing(site):
    """Applied again, with the gateway up and jobs known: not a byte, and no word against it."""
    extended = site.cluster.files()

    again = _install(site.cluster, site.gateway, "--apply")

    assert again.code == 0, again.err + again.out
    assert "Changed: nothing; slurmctld has it." in again.out
    assert site.cluster.files() == extended


def test_the_site_s_own_rules_and_programs_still_hold(site):
    """Its job_submit.lua refuses and breaks as before, in the cloud too; its own nodes are its own program's."""
    cluster = site.cluster
    for partition in ("main", "cloud"):
        refused = cluster.run("sbatch", "-p", partition, "-J", "forbidden", "--wrap=true", user=USER)
        assert refused.code != 0
        assert "not with that name, says Petra" in refused.err
    broken = cluster.sbatch("true", "-p", "cloud", "-J", "broken", "--time=5", "--hold")
    assert cluster.comment(broken).startswith("burst: waits") or len(cluster.comment(broken)) == 32
    cluster.run("scancel", str(broken))

    dark = cluster.sbatch("true", "-p", "rack5")

    resumed = cluster.top / "state/resumed"
    eventually(lambda: resumed.exists() and resumed.read_text(), "the site's own program was called")
    assert resumed.read_text() == "dark1\n"
    cluster.run("scancel", str(dark))


def test_remove_gives_back_every_byte(site):
    """The last test: the same files with the same bytes, modes and owners; Slurm then knows no cloud partition."""
    directory = str(site.gateway.directory)

    done = site.gateway.burst("site", "remove", "--apply", "--dir", directory, user=None)

    assert done.code == 0, done.err
    assert site.cluster.files() == site.before
    eventually(lambda: "cloud" not in site.cluster.run("sinfo", "-h").out, "the partition is gone")
    refused = site.cluster.run("sbatch", "-p", "cloud", "--wrap=true", user=USER)
    assert "invalid partition" in refused.err.lower()
    own = site.cluster.sbatch("true")
    assert site.cluster.until(own, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"


def _cold_node(site: Extended) -> str:
    """A cloud node that is off."""
    shown = site.cluster.run("sinfo", "-h", "-N", "-p", "cloud", "-o", "%N %t").out.splitlines()
    return next(line.split()[0] for line in reversed(shown) if line.split()[1].endswith("~"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Nonsense=1", "Parsing error at unrecognized key: Nonsense"),
        ("Include gone.conf", "gone.conf: No such file or directory"),
        ("SelectType=select/none_such", "none_such cannot give a job whole nodes"),
    ],
)
@pytest.mark.long
def test_a_configuration_that_cannot_be_extended_is_left_alone(site, line, said):
    """After all others: a line, exit code 1, and not a byte changed."""
    kept = site.cluster.conf.read_bytes()
    site.cluster.conf.write_bytes(kept + f"\n{line}\n".encode())
    before = site.cluster.files()
    try:
        refused = _install(site.cluster, site.gateway, "--apply")
        after = site.cluster.files()
    finally:
        site.cluster.conf.write_bytes(kept)

    assert after == before
    assert refused.code == 1, refused.out
    assert said in refused.out + refused.err


def test_what_would_end_slurmctld_is_found_before_it_is_told(site):
    """The site broke its own job_submit.lua: slurmctld goes on with the old one until the next reconfiguration."""
    lua = site.cluster.etc / "job_submit.lua"
    kept = lua.read_bytes()
    lua.write_bytes(kept + b"this is no Lua\n")
    before = site.cluster.files()
    try:
        refused = _install(site.cluster, site.gateway, "--apply")
        after = site.cluster.files()
    finally:
        lua.write_bytes(kept)

    assert after == before
    assert refused.code == 1, refused.out
    assert "refuses the site's configuration as it is: job_submit/lua" in refused.out
    own = site.cluster.sbatch("true")
    assert site.cluster.until(own, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"


def _machines(site: Extended) -> set[str]:
    return {node.name for node in site.gateway.list_nodes()}
