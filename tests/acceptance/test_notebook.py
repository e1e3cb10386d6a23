"""From Python: the client's verbs, the cell magic, and one simulation as a function in all its forms."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import nbformat
import pytest
from gateway_site import PATIENCE_S, Site, eventually, site_in
from nbclient import NotebookClient

from gateway import client as burst
from gateway.client import Simulation
from gateway.errors import InvalidRequest, JobFailed, NotFound

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

ECHO = {
    "simulation.toml": """\
title = "What was said, and by which job"
script = "echo.sh"
result = "said.json"
[[parameters]]
name = "text"
type = "str"
[[parameters]]
name = "times"
type = "int"
minimum = 1
maximum = 3
default = 1
""",
    "echo.sh": """\
#!/bin/bash
#SBATCH --time=1
python3 -c 'import json, sys; print(json.dumps([sys.argv[1]] * int(sys.argv[2])))' "$1" "$2" > said.json
[ "$1" != slow ] || sleep 600
[ "$1" != bad ]
""",
}
NASTY = 'it\'s "$HOME" `id`; --nodes=99 \\ %j'


@pytest.fixture(scope="module")
def desk() -> Iterator[Site]:
    """A gateway of process nodes whose demo user has logged in."""
    with site_in(nodes="process", idle_s=20) as running:
        running.login().close()
        yield running


@pytest.fixture(scope="module")
def echo(tmp_path_factory) -> Path:
    """A folder with a simulation that takes no time."""
    folder = tmp_path_factory.mktemp("echo")
    for name, text in ECHO.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def gateway(desk):
    """The demo user's client."""
    with desk.login() as one:
        yield one


class Function:
    """A running ``burst-function``."""

    def __init__(self, http: httpx2.Client, where: Path | None) -> None:
        self.http = http
        self.socket = where

    def call(self, values: Any, **headers: str) -> httpx2.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        content = values if isinstance(values, bytes) else json.dumps(values).encode()
        return self.http.post("/call", content=content, headers=names, timeout=PATIENCE_S)


@contextlib.contextmanager
def serving(desk: Site, folder: Path, *words: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "gateway.functions", str(folder), *words]
    env = {**desk.environment(), **environment}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def fn(desk, echo, tmp_path_factory) -> Iterator[Function]:
    """The simulation as an Fn function on its own socket."""
    path = tmp_path_factory.mktemp("iofs") / "lsnr.sock"
    with serving(desk, echo, FN_FORMAT="http-stream", FN_LISTENER=f"unix:{path}") as process:
        eventually(lambda: path.is_symlink() or process.poll() is not None, "the function listens")
        assert process.poll() is None, process.stderr.read()
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://localhost") as http:
            yield Function(http, path)
    assert not path.is_symlink()
    assert list(path.parent.iterdir()) == []


def test_a_job_from_python(gateway, tmp_path, monkeypatch):
    """Submit, wait, logs, result, outputs and receipt by the functions of gateway.client, with sbatch's options."""
    monkeypatch.chdir(tmp_path)
    job = burst.submit(
        "#!/bin/bash\necho hello $1; echo 42 > answer.txt\n", "you", gateway=gateway, job_name="py", time=1
    )

    result = burst.result(job)

    assert burst.status(job).name == "py"
    assert burst.logs(job) == "hello you\n"
    assert result.text("answer.txt") == "42\n"
    assert Path(f"job-{job.name}/answer.txt").read_text() == "42\n"
    assert "answer.txt" in {file.path for file in burst.outputs(job)}
    assert burst.receipt(job).job == job.name
    with pytest.raises(NotFound, match="left no file"):
        result.text("other.txt")


def test_a_job_that_fails_says_why(gateway):
    """The result of a failed job is an error that quotes its stderr; a cancelled one says so."""
    failed = burst.submit("#!/bin/bash\necho 'no such molecule' >&2; exit 3\n", gateway=gateway)
    held = burst.submit("#!/bin/bash\ntrue\n", gateway=gateway, hold=True)

    burst.cancel(held)

    with pytest.raises(JobFailed, match=r"exit code 3.*\n.*no such molecule"):
        failed.result()
    with pytest.raises(JobFailed, match="CANCELLED"):
        burst.result(burst.wait(held))


def test_the_same_key_is_the_same_job(gateway, echo):
    """A call that is repeated, as after a lost answer, makes no second job."""
    simulation = Simulation.load(echo, gateway)

    first, again = (simulation.submit({"text": "once"}, "a-key-of-mine") for _ in range(2))

    assert first.name == again.name


def test_parameters_reach_the_script_as_they_are(gateway, echo):
    """Quotes, blanks, dollars and what looks like options are text to the script."""
    assert Simulation.load(echo, gateway)(text=NASTY, times="2") == [NASTY, NASTY]


def test_the_command_calls_it(desk, echo):
    """burst call prints the result as JSON, says which parameters there are, and refuses others in one line."""
    done = desk.burst("call", str(echo), "text=a b", "times=3")
    about = desk.burst("call", str(echo))
    wrong = desk.burst("call", str(echo), "text=x", "times=9")

    assert (done.code, done.json) == (0, ["a b"] * 3)
    assert "text=STR" in about.out
    assert (wrong.code, wrong.complaint) == (
        1,
        "burst: error: times: '9' is not a whole number at least 1 and at most 3; see --help",
    )


def test_the_notebook_runs(desk, tmp_path):
    """The example notebook without a screen: %%sbatch, two calls of the Ising function, Onsager's energies."""
    for folder in ("notebook", "ising-array"):
        shutil.copytree(EXAMPLES / folder, tmp_path / folder)
    notebook = nbformat.read(tmp_path / "notebook/ising.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path / "notebook")}}

    NotebookClient(notebook, timeout=280, kernel_name="python3", resources=resources).execute(env=desk.environment())

    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    texts = "".join(output.get("text", "") for output in shown)
    kinds = {kind for output in shown for kind in output.get("data", {})}
    assert "COMPLETED" in str(shown)
    assert " on small-" in texts
    assert {"text/html", "image/svg+xml"} <= kinds


def test_a_wrong_cell_is_one_line(desk, tmp_path):
    """An option that sbatch does not have is told in one line, not as a trace."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%load_ext gateway.client")])
    notebook.cells.append(nbformat.v4.new_code_cell("%%sbatch --no-such-option\ntrue"))
    client = NotebookClient(notebook, timeout=60, kernel_name="python3", allow_errors=True)

    client.execute(env=desk.environment())

    (said,) = (output for output in notebook.cells[1].outputs)
    assert "unrecognized option '--no-such-option'" in said.get("text", "") + said.get("evalue", "")
    assert "Traceback" not in said.get("text", "")


def test_fn_finds_its_socket(fn):
    """Fn's own rules: a relative link in the same folder, to a socket that all may write."""
    target = fn.socket.readlink()

    assert len(target.parts) == 1
    mode = (fn.socket.parent / target).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o666


def test_fn_calls_the_simulation(fn):
    """A call is answered with the result; a second on the same connection too."""
    first = fn.call({"text": "via fn"})
    second = fn.call({"text": "again"}, Fn_Intent="httprequest")

    assert (first.status_code, first.json()["result"]) == (200, ["via fn"])
    assert (second.status_code, second.headers["fn-http-status"]) == (200, "200")
    assert second.json()["result"] == ["again"]


def test_fn_tells_failures_in_its_own_way(fn):
    """A wrong parameter: 502 to Fn, 422 to an HTTP caller behind its trigger; never a trace."""
    plain = fn.call({"text": "x", "times": 9})
    behind = fn.call({"text": "x", "times": 9}, Fn_Intent="httprequest")
    failed = fn.call({"text": "bad"}, Fn_Intent="httprequest")
    broken = fn.call(b"{", Fn_Intent="httprequest")

    assert (plain.status_code, plain.json()["field"]) == (502, "times")
    assert (behind.status_code, behind.headers["fn-http-status"]) == (200, "422")
    assert (failed.status_code, failed.json()["code"]) == (502, "job_failed")
    assert broken.headers["fn-http-status"] == "422"


def test_fn_does_not_outlast_its_deadline(fn, gateway):
    """At the deadline the call says which job it began; the job is asked for by its id, and is one for one call id."""

    def soon() -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 4))

    first = fn.call({"text": "slow"}, Fn_Call_Id="call-000001", Fn_Deadline=soon(), Fn_Intent="httprequest")
    repeated = fn.call({"text": "slow"}, Fn_Call_Id="call-000001", Fn_Deadline=soon(), Fn_Intent="httprequest")
    job = first.json()["job"]
    asked = fn.call({"job": job}, Fn_Deadline=soon(), Fn_Intent="httprequest")
    gateway.cancel(job)

    assert [answer.headers["fn-http-status"] for answer in (first, repeated, asked)] == ["202"] * 3
    assert repeated.json()["job"] == asked.json()["job"] == job
    assert gateway.wait(job).state == "CANCELLED"


def test_over_http_with_a_token(desk, echo, tmp_path):
    """Over TCP only who shows the token may call; an answer waits as long as the caller prefers."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123\n")
    with serving(desk, echo, "--http", "127.0.0.1:0", "--token-file", str(token)) as process:
        url = process.stdout.readline().strip().removesuffix("/call")
        with httpx2.Client(base_url=url) as http:
            function = Function(http, None)
            bearer = {"Authorization": "Bearer 0123456789abcdef0123"}
            assert function.call({"text": "x"}).status_code == 401
            assert function.call({"text": "x"}, Authorization="Bearer wrong").status_code == 401
            done = function.call({"text": "over http"}, **bearer)
            assert (done.status_code, done.json()["result"]) == (200, ["over http"])
            later = function.call({"text": "once more"}, **bearer, Prefer="wait=0")
            assert later.status_code == 202
            again = function.call({"job": later.json()["job"]}, **bearer)
            assert again.json()["result"] == ["once more"]
            assert http.get("/call").status_code == 405


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        ((), {}, "FN_FORMAT is"),
        ((), {"FN_FORMAT": "http-stream", "FN_LISTENER": "/iofs/lsnr.sock"}, "FN_LISTENER is"),
        (("--http", "127.0.0.1:0"), {}, "needs a token"),
        (("--http", "8100"), {}, "is not ADDRESS:PORT"),
    ],
)
def test_a_function_that_cannot_listen_ends(desk, echo, words, environment, said):
    """Without Fn's variables, or without a token, it says what is missing and ends with an error."""
    with serving(desk, echo, *words, **environment) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert said in err
    assert err.count("\n") == 1


def test_a_parameter_is_checked_before_anything_is_sent(echo):
    """Missing, unknown, of another type or out of range: named, without a gateway."""
    simulation = Simulation.load(echo)
    for values, said in (({}, "text is not given"), ({"text": "a", "x": 1}, "unknown parameter 'x'"),
                         ({"text": "a\nb"}, "one line"), ({"text": "a", "times": True}, "whole number")):  # fmt: skip
        with pytest.raises(InvalidRequest, match=said):
            simulation.arguments(values)
