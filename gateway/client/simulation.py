"""Simulation: a job script as a function: named parameters in, the job's result file out.

A folder describes it: the script, its inputs, and ``simulation.toml``::

    title = "Energy of the two-dimensional Ising model"
    script = "point.sh"
    result = "result.json"

    [[parameters]]
    name = "temperature"
    type = "float"
    minimum = 0.1
    about = "in units of J/k"

Invariant: a parameter reaches the script as one argument, in the order of the file, checked before anything is sent;
no value is ever read as shell or as an option of sbatch's.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.client.gateway import Gateway, Submission, read_script
from gateway.client.job import Job, connected
from gateway.errors import InvalidRequest, SetupError

FILE = "simulation.toml"

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Parameter(BaseModel):
    """One argument; without a ``default`` it must be given. Bounds are inclusive."""

    model_config = _STRICT

    name: str
    type: Literal["int", "float", "str"]
    about: str = ""
    default: int | float | str | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def text(self, value: object) -> str:
        """The script's argument for ``value``. Raises InvalidRequest."""
        read = {"int": _whole, "float": _number, "str": _word}[self.type](value)
        if read is None or (self.choices and read not in self.choices) or not self._within(read):
            raise InvalidRequest(f"{self.name}: {value!r} is not {self._wanted()}", field=self.name)
        return str(read)

    def _within(self, value: float | str) -> bool:
        if isinstance(value, str):
            return True
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)

    def _wanted(self) -> str:
        kind = {"int": "a whole number", "float": "a number", "str": "a text of one line"}[self.type]
        bounds = [f"at least {self.minimum:g}"] if self.minimum is not None else []
        bounds += [f"at most {self.maximum:g}"] if self.maximum is not None else []
        return f"one of {', '.join(self.choices)}" if self.choices else " ".join((kind, " and ".join(bounds))).strip()


class _Description(BaseModel):
    model_config = _STRICT

    title: str
    script: str
    result: str
    parameters: tuple[Parameter, ...] = ()
    options: tuple[str, ...] = ()
    """Further options of sbatch's."""


class Simulation:
    """A folder's simulation, called like a function.

    >>> energy = Simulation.load("examples/ising-array")
    >>> energy(temperature=2.1)["energy"]["mean"]
    -1.66...
    """

    def __init__(self, folder: Path, description: _Description, gateway: Gateway | None = None) -> None:
        self.folder = folder
        self.title = description.title
        self.parameters = description.parameters
        self._description = description
        self._gateway = gateway

    @classmethod
    def load(cls, folder: str | Path, gateway: Gateway | None = None) -> Self:
        """Read ``folder``'s simulation.toml. Raises SetupError for one that is missing or not valid."""
        file = Path(folder) / FILE
        try:
            description = _Description.model_validate(tomllib.loads(file.read_text()))
        except OSError as error:
            raise SetupError(f"{file}: {error.strerror}", hint="name a folder that has a simulation.toml") from None
        except (ValidationError, tomllib.TOMLDecodeError) as error:
            raise SetupError(f"{file}: {_first(error)}", hint="docs/notebook.md describes the file") from None
        return cls(file.parent.resolve(), description, gateway)

    def __call__(self, **values: object) -> Any:
        """Run it and return its result file: parsed, if it is JSON.

        Raises InvalidRequest for a parameter, JobFailed for a job that did not complete.
        """
        return self.result(self.submit(values))

    def submit(self, values: Mapping[str, object], key: str | None = None) -> Job:
        """Its job, as soon as Slurm has it. The same ``key`` again gives the same job."""
        arguments = self.arguments(values)
        gateway = self._gateway or connected()
        script = read_script(self.folder / self._description.script)
        name = Path(self._description.script).name
        job = Submission(script, name, self._description.options, arguments, directory=self.folder)
        view = gateway.submit(job, key)
        return Job(gateway, view.id if view.id is not None else view.burst_id)

    def job(self, name: int | str) -> Job:
        """A job that was submitted before."""
        return Job(self._gateway or connected(), name)

    def result(self, job: Job) -> Any:
        """What ``job`` computed, once it has completed."""
        name = self._description.result
        with TemporaryDirectory(prefix="burst-") as folder:
            found = job.result(folder)
            return found.json(name) if name.endswith(".json") else found.text(name)

    def arguments(self, values: Mapping[str, object]) -> tuple[str, ...]:
        """The script's arguments. Raises InvalidRequest for one that is missing, unknown or out of range."""
        known = {parameter.name: parameter for parameter in self.parameters}
        if unknown := sorted(values.keys() - known.keys()):
            takes = ", ".join(known) or "none"
            raise InvalidRequest(f"unknown parameter {unknown[0]!r}", hint=f"it takes: {takes}", field=unknown[0])
        return tuple(self._argument(parameter, values) for parameter in self.parameters)

    def _argument(self, parameter: Parameter, values: Mapping[str, object]) -> str:
        value = values.get(parameter.name, parameter.default)
        if value is None:
            raise InvalidRequest(f"{parameter.name} is not given", hint=parameter.about or None, field=parameter.name)
        return parameter.text(value)


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return int(str(value))
    except ValueError:
        return None


def _number(value: object) -> float | None:
    try:
        number = float(str(value)) if not isinstance(value, bool) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _word(value: object) -> str | None:
    text = str(value)
    return text if text.isprintable() else None


def _first(error: ValidationError | tomllib.TOMLDecodeError) -> str:
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
    return str(error)
