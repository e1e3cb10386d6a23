"""Redfish: a host's power by its management controller's REST API (DMTF DSP0266, ComputerSystem.Reset of DSP2046).

Invariant: the password goes to the configured URL alone, over TLS that is verified unless the settings say otherwise;
a session that was opened is closed, for controllers have few.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from gateway.provisioning.host_power import PowerRefused, PowerSilent, PowerState, PowerUnreachable

ROOT = "/redfish/v1/"
TIMEOUT_S = 15.0
TASK_S = 60.0
_TASK_LOOK_S = 1.0
_MOST_BYTES = 1 << 20

_STATES = {"On": PowerState.ON, "Off": PowerState.OFF}
_ON = ("On", "ForceOn", "PushPowerButton")
_OFF = ("GracefulShutdown", "PushPowerButton")
_CUT = ("ForceOff",)
_FAILED = frozenset({"Exception", "Killed", "Cancelled", "Interrupted"})
_BUSY = frozenset({429, 502, 503, 504})
_PRECONDITION = frozenset({412, 428})

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """One reply: its status, headers and JSON object, {} for none."""

    status: int
    headers: Mapping[str, str]
    facts: Json


@dataclass(frozen=True)
class Redfish:
    """The power of one ComputerSystem. ``system``: its Id; None: the controller has one only.

    ``verify``: False takes any certificate; ``ca_file`` has the authority's, or the controller's own, in PEM.
    ``sessions``: log in once a call, where the service can; else each request carries the password.
    """

    url: str
    user: str
    password: str = field(repr=False)
    system: str | None = None
    verify: bool = True
    ca_file: str | None = None
    sessions: bool = True
    timeout_s: float = TIMEOUT_S
    pause: Callable[[float], object] = time.sleep
    tells = True

    @property
    def name(self) -> str:
        """The controller's address."""
        return f"redfish {urlsplit(self.url).netloc}"

    def state(self) -> PowerState:
        """PowerState of the system; what is neither On nor Off is on its way."""
        with self._connected() as line:
            return _STATES.get(str(line.system().facts.get("PowerState")), PowerState.UNKNOWN)

    def on(self) -> None:
        """See ``HostPower.on``."""
        self._reset(_ON, PowerState.ON)

    def off(self) -> None:
        """See ``HostPower.off``."""
        self._reset(_OFF, PowerState.OFF)

    def cut(self) -> None:
        """See ``HostPower.cut``."""
        self._reset(_CUT, PowerState.OFF)

    def _reset(self, types: tuple[str, ...], wanted: PowerState) -> None:
        with self._connected() as line:
            system = line.system()
            if _STATES.get(str(system.facts.get("PowerState"))) is wanted:
                return
            target, known = _action(self.name, system.facts, line)
            chosen = next((each for each in types if known is None or each in known), None)
            if chosen is None:
                raise PowerRefused(
                    f"{self.name} cannot {' or '.join(types)}: it knows {', '.join(sorted(known or ()))}"
                )
            line.act(target, {"ResetType": chosen})

    @contextmanager
    def _connected(self) -> Iterator[_Line]:
        with httpx2.Client(
            base_url=self.url,
            timeout=self.timeout_s,
            trust_env=False,
            follow_redirects=False,
            verify=_trust(self),
            headers={"Accept": "application/json", "OData-Version": "4.0"},
        ) as http:
            line = _Line(self, http)
            with line.logged_in():
                yield line


@dataclass(frozen=True)
class _Line:
    """One conversation with a controller."""

    redfish: Redfish
    http: httpx2.Client

    @contextmanager
    def logged_in(self) -> Iterator[None]:
        """With a session where the service has such, else with the password in each request."""
        place = _link(self._expect("GET", ROOT).facts, "Links", "Sessions") if self.redfish.sessions else None
        if place is None:
            self.http.auth = httpx2.BasicAuth(self.redfish.user, self.redfish.password)
            yield
            return
        login = {"UserName": self.redfish.user, "Password": self.redfish.password}
        answer = self._expect("POST", place, login)
        token, session = answer.headers.get("x-auth-token"), answer.headers.get("location")
        if not token:
            raise PowerUnreachable(f"{self.redfish.name} opened a session and gave no token")
        self.http.headers["X-Auth-Token"] = token
        try:
            yield
        finally:
            if session:
                # It ends by itself, if not now.
                with suppress(PowerUnreachable, PowerRefused, PowerSilent):
                    self._asked("DELETE", session)

    def system(self) -> Answer:
        """The ComputerSystem."""
        place = _link(self._expect("GET", ROOT).facts, "Systems") or f"{ROOT}Systems"
        members = self._expect("GET", place).facts.get("Members")
        places = [str(each.get("@odata.id", "")) for each in members] if isinstance(members, list) else []
        wanted = self.redfish.system
        found = [each for each in places if wanted in {None, each.rstrip("/").rpartition("/")[2]}]
        if len(found) != 1:
            names = ", ".join(each.rstrip("/").rpartition("/")[2] for each in places) or "none"
            asked = f"no system {wanted}" if wanted else f"{len(found)} systems"
            raise PowerRefused(f"{self.redfish.name} has {asked}: it has {names}", hint="set `system` in the settings")
        return self._expect("GET", found[0])

    def read(self, place: str) -> Json:
        """A resource."""
        return self._expect("GET", place).facts

    def act(self, target: str, body: Json) -> None:
        """POST an action and wait for its task, if it makes one. Raises PowerError."""
        answer = self._asked("POST", target, body, changes=True)
        if answer.status in _PRECONDITION:
            # Some want to be shown that the system's present state is known.
            tag = self.system().headers.get("etag", "*")
            answer = self._asked("POST", target, body, {"If-Match": tag}, changes=True)
        self._require(answer, target)
        if answer.status == httpx2.codes.ACCEPTED:
            self._follow(answer)

    def _follow(self, answer: Answer) -> None:
        """Until a task's end; one that takes longer is left to the reading of the power."""
        place, left_s = answer.headers.get("location"), TASK_S
        while place and answer.status == httpx2.codes.ACCEPTED and left_s > 0:
            if str(answer.facts.get("TaskState")) in _FAILED:
                break
            self.redfish.pause(_TASK_LOOK_S)
            left_s -= _TASK_LOOK_S
            answer = self._asked("GET", place)
            if answer.status in {404, 410}:
                return  # done, and forgotten already
            self._require(answer, place)
        if str(answer.facts.get("TaskState")) in _FAILED:
            raise PowerRefused(f"{self.redfish.name}: the task ended as {answer.facts['TaskState']}{_words(answer)}")

    def _expect(self, method: str, place: str, body: Json | None = None) -> Answer:
        answer = self._asked(method, place, body)
        self._require(answer, place)
        return answer

    def _require(self, answer: Answer, place: str) -> None:
        name = self.redfish.name
        if answer.status in {401, 403}:
            hint = "check user and password of the controller in the secrets"
            raise PowerRefused(f"{name} refuses the login of {self.redfish.user}{_words(answer)}", hint=hint)
        if answer.status in _BUSY:
            raise PowerUnreachable(f"{name} answers {answer.status}{_words(answer)}")
        if not httpx2.codes.is_success(answer.status):
            raise PowerRefused(f"{name} answers {answer.status} to {urlsplit(place).path}{_words(answer)}")

    def _asked(
        self, method: str, place: str, body: Json | None = None, headers: Json | None = None, *, changes: bool = False
    ) -> Answer:
        try:
            request = self.http.build_request(method, self._inside(place), json=body, headers=headers)
            return _bounded(self.http, request, self.redfish.timeout_s)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise PowerUnreachable(f"{self.redfish.name} does not answer: {error}") from None
        except (httpx2.HTTPError, ValueError, RecursionError) as error:
            kind = PowerSilent if changes else PowerUnreachable
            raise kind(
                f"{self.redfish.name} gave no answer that can be read: {error or type(error).__name__}"
            ) from None

    def _inside(self, place: str) -> str:
        """A link of the controller's; one that leads to another computer is not followed."""
        url = urljoin(self.redfish.url, place)
        if urlsplit(url)[:2] != urlsplit(self.redfish.url)[:2]:
            raise PowerRefused(f"{self.redfish.name} leads elsewhere: {url}")
        return url


def _bounded(http: httpx2.Client, request: httpx2.Request, within_s: float) -> Answer:
    """One exchange, of limited length and time: a limit for each read alone lets a controller dribble for ever."""
    deadline = time.monotonic() + within_s
    text = b""
    with closing(http.send(request, stream=True)) as reply:
        for piece in reply.iter_bytes():
            text += piece
            if len(text) > _MOST_BYTES:
                raise ValueError("it is too long")
            if time.monotonic() > deadline:
                raise ValueError("it takes too long")
    plain = reply.status_code not in {200, 201, 202}
    try:
        facts = json.loads(text) if text.strip() else {}
    except ValueError:
        if not plain:
            raise
        facts = {}
    return Answer(reply.status_code, reply.headers, facts if isinstance(facts, dict) else {})


def _action(name: str, system: Json, line: _Line) -> tuple[str, frozenset[str] | None]:
    """Where to POST a reset, and which types it takes; None: it does not say. Raises PowerRefused."""
    reset = (system.get("Actions") or {}).get("#ComputerSystem.Reset") or {}
    if not (target := reset.get("target")):
        raise PowerRefused(f"{name}: the system has no action ComputerSystem.Reset")
    known = reset.get("ResetType@Redfish.AllowableValues")
    if known is None and (info := reset.get("@Redfish.ActionInfo")):
        parameters = line.read(str(info)).get("Parameters") or ()
        known = next((each.get("AllowableValues") for each in parameters if each.get("Name") == "ResetType"), None)
    return str(target), frozenset(map(str, known)) if known is not None else None


def _link(facts: Json, *names: str) -> str | None:
    found: Any = facts
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return str(found["@odata.id"]) if isinstance(found, Mapping) and "@odata.id" in found else None


def _words(answer: Answer) -> str:
    """What it says itself of an error."""
    error = answer.facts.get("error") or answer.facts
    told = (error.get("@Message.ExtendedInfo") or error.get("Messages") or ()) if isinstance(error, Mapping) else ()
    texts = [str(each.get("Message", "")) for each in told if isinstance(each, Mapping)]
    text = next(filter(None, [*texts, str(error.get("message", "")) if isinstance(error, Mapping) else ""]), "")
    return f": {text[:200]}" if text else ""


def _trust(redfish: Redfish) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=redfish.ca_file)
    except OSError as error:  # an unreadable file, or what is no certificate (ssl.SSLError)
        hint = "ca_file is a PEM file"
        raise PowerRefused(f"{redfish.name}: {redfish.ca_file} cannot be read: {error}", hint=hint) from None
    if not redfish.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
