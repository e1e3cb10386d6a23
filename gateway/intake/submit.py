"""Submit: a script, its command line and its environment become a JobRequest.

Invariant: nothing is created and nothing is read but the request. The script stays as it is; what cannot hold on
another machine (paths, the login environment) is translated or left behind by the rules below, never guessed.

- Precedence: defaults < the script's directives < SBATCH_* variables < command line (sbatch(1)).
- The job's working directory takes the place of the directory it was submitted from, and of --chdir. --output, --error
  and --input below either become relative to it; any other absolute path becomes its file name, but for /dev/null.
- The submitting machine's environment does not travel: a job sees the variables that --export names, with or without
  a value. ``--export=ALL`` names none.
- A job that runs in place, on files that it shares with its submitter, keeps all of it: directory, paths, environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from gateway import wire
from gateway.errors import InputMissing, InvalidRequest, OptionError
from gateway.intake import burst, directives
from gateway.intake.resources import resources_of
from gateway.jobs.job import BurstOptions, JobRequest, StageIn, UnitOrder
from gateway.slurm import options as slurm
from gateway.slurm import units
from gateway.slurm.getopt import LONG

_KEPT_PATHS = frozenset({"/dev/null", "none"})


def read(request: wire.SubmitRequest, *, default_time_limit_s: int, max_time_limit_s: int) -> JobRequest:
    """Read a submission; a job without a time limit gets the default one.

    Raises ``ScriptError``, ``OptionError`` (sbatch's words and exit codes) and ``InputMissing``.
    """
    _refuse_nul(request)
    command = _command(request)
    variables = slurm.from_environment(request.environment)
    found = directives.read(request.script, ignore_pbs="ignore-pbs" in {**variables, **command})
    asked = slurm.merge(found.options, variables, command)
    options = {name: value for name, value in asked.items() if LONG[name].support is not slurm.Support.CLIENT}
    _limit_time(options, default_time_limit_s, max_time_limit_s)
    home = request.submit_directory
    if request.in_place:
        home = str(PurePosixPath(home) / options.pop("chdir", "."))
    else:
        _relocate(options, home)
    exported = options.pop("export", "ALL" if request.in_place else None)
    name = options.get("job-name", PurePosixPath(request.script_name).name)
    return JobRequest(
        name=name,
        script=request.script,
        arguments=request.arguments,
        options=options,
        resources=resources_of(options),
        burst=BurstOptions(
            stage_in=_stage_in(found.burst.stage_in, request.inputs),
            stage_out=found.burst.stage_out,
            account_to=found.burst.account_to,
            max_cost_ucr=found.burst.max_cost_ucr,
            units=UnitOrder(**vars(found.burst.units)) if found.burst.units else None,
            output_bytes=found.burst.output_bytes,
            on_demand=found.burst.on_demand,
        ),
        environment={
            **(request.environment if request.in_place and "ALL" in _items(exported or "") else {}),
            **slurm.environment(options),
            **_exported(exported, request.environment),
        },
        submit_directory=home,
        in_place=request.in_place,
    )


def _refuse_nul(request: wire.SubmitRequest) -> None:
    words = (*request.options, *request.arguments, *request.environment, *request.environment.values())
    if any("\0" in word for word in words):
        raise InvalidRequest("an option, argument or variable holds a NUL character", hint="remove it")


def _command(request: wire.SubmitRequest) -> Mapping[str, str]:
    parsed = slurm.parse(request.options)
    if parsed.rest:
        hint = "send the script and its arguments apart from the options"
        raise OptionError(f"{parsed.rest[0]!r} is not an option", option=parsed.rest[0], hint=hint)
    return parsed.options


def _limit_time(options: dict[str, str], default_s: int, most_s: int) -> None:
    """A time limit always: what is priced is bounded by it."""
    most = most_s // 60
    minutes = units.minutes(options.setdefault("time", str(-(-default_s // 60))))
    if minutes == units.UNLIMITED or minutes > most:
        raise OptionError(
            "Requested time limit is invalid (missing or exceeds some limit)",
            option="--time",
            exit_code=1,
            hint=f"the longest is --time={most} (minutes)",
        )


def _relocate(options: dict[str, str], submit_directory: str) -> None:
    """Paths of the submitting machine as paths below the job's own working directory."""
    home = PurePosixPath(submit_directory)
    tops = (home / options.pop("chdir", "."), home)
    for name in ("output", "error", "input"):
        if name in options and options[name] not in _KEPT_PATHS:
            inside = _inside(options.pop(name), tops)
            if inside not in {"", "."}:
                options[name] = inside


def _inside(path: str, tops: Sequence[PurePosixPath]) -> str:
    pure = PurePosixPath(path)
    for top in tops:
        if pure.is_relative_to(top) and pure != top:
            pure = pure.relative_to(top)
            break
    return pure.name if pure.is_absolute() or ".." in pure.parts else str(pure)


def _exported(value: str | None, variables: Mapping[str, str]) -> dict[str, str]:
    """Variables that --export names: ``NAME=VALUE``, or ``NAME`` with the value that was sent along."""
    chosen: dict[str, str] = {}
    for item in _items(value or ""):
        name, equals, given = item.partition("=")
        if equals and name:
            chosen[name] = given
        elif name in variables and name not in {"ALL", "NONE", "NIL"}:
            chosen[name] = variables[name]
    return chosen


def _items(value: str) -> Iterator[str]:
    """Parts between commas; quotes keep a comma in a part, and are dropped."""
    part, quote = "", ""
    for letter in value:
        if letter == quote:
            quote = ""
        elif letter in "\"'" and not quote:
            quote = letter
        elif letter == "," and not quote:
            yield part
            part = ""
        else:
            part += letter
    yield part


def _stage_in(wanted: Sequence[burst.Input], files: Sequence[wire.InputFile]) -> tuple[StageIn, ...]:
    """Every file that was sent, each under the line that asks for it; a folder stands for the files below it."""
    staged: dict[str, StageIn] = {}
    missing = set(wanted)
    for file in files:
        asked = next((item for item in wanted if _is_of(file, item)), None)
        missing.discard(asked) if asked else None
        destination = _destination(file)
        if destination in staged:
            raise InvalidRequest(f"two inputs have the destination {destination!r}", field="inputs")
        line = asked.line if asked else None
        staged[destination] = StageIn(file.source, destination, line, size=file.size, sha256=file.sha256)
    for item in wanted:
        if item in missing:
            raise InputMissing(
                f"line {item.line}: nothing was sent for --stage-in={item.source}",
                hint="name a file that is there; relative paths start where you submit",
                field=f"script:{item.line}",
            )
    return tuple(staged.values())


def _is_of(file: wire.InputFile, item: burst.Input) -> bool:
    if (file.source, file.destination) == (item.source, item.destination):
        return True
    below = file.source.removeprefix(f"{item.source}/")
    return below != file.source and file.destination == f"{item.destination}/{below}"


def _destination(file: wire.InputFile) -> str:
    try:
        return burst.destination_of(file.destination)
    except ValueError as error:
        message = f"{file.destination!r} is not a path of a file below the job's working directory"
        raise InvalidRequest(message, field="inputs", hint="use a relative path without ..") from error
