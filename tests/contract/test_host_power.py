"""The port to a host's power, on a Redfish controller, an IPMI controller and a sleeping network card."""

from __future__ import annotations

import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pytest
from bmc import PASSWORD, USER, IpmiBmc, Outlet, RedfishBmc, ipmi_bmc, redfish_bmc

from gateway.errors import InvalidRequest
from gateway.provisioning.host_power import (
    HostPower,
    NoPower,
    PowerError,
    PowerRefused,
    PowerSilent,
    PowerState,
    PowerStuck,
    PowerUnreachable,
    confirm,
)
from gateway.provisioning.ipmi import Ipmi
from gateway.provisioning.redfish import Redfish
from gateway.provisioning.wake_on_lan import WakeOnLan

FIRST = "27946b59-9e44-4fa7-8e91-f3527a1ef094"
OTHER = "0f3c5a11-2b6c-4d7e-9a41-6d1f1b8a2c33"
MAC = "52:54:00:ab:cd:ef"


@dataclass(frozen=True)
class PowerSite:
    """One adapter and what it talks to. ``asked``: the orders that arrived, in the words of what hears them."""

    power: HostPower
    intruder: HostPower | None
    """The same with a wrong password; None: there is none to give."""
    is_on: Callable[[], bool]
    asked: Callable[[], list[str]]
    stick: Callable[[bool], None]
    hang: Callable[[bool], None]


@pytest.fixture(params=["redfish", "redfish-basic", "ipmi", "wol"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PowerSite]:
    """A machine that is off, behind each of them."""
    with ExitStack() as stack:
        if request.param == "ipmi":
            if absent := [each for each in ("ipmitool", "ipmi_sim") if shutil.which(each) is None]:
                pytest.skip(f"no IPMI here: {', '.join(absent)} not installed")
            yield _ipmi_site(stack.enter_context(ipmi_bmc(tmp_path)))
        elif request.param == "wol":
            yield stack.enter_context(_Card()).site()
        else:
            outlets = {FIRST: Outlet(), OTHER: Outlet()}
            bmc = stack.enter_context(redfish_bmc(tmp_path, outlets))
            yield _redfish_site(bmc, sessions=request.param == "redfish")


@pytest.fixture
def bmc(tmp_path: Path) -> Iterator[RedfishBmc]:
    """A Redfish controller of one machine."""
    with redfish_bmc(tmp_path, {FIRST: Outlet()}) as running:
        yield running


def _redfish(bmc: RedfishBmc, **changed: object) -> Redfish:
    made = Redfish(bmc.url, USER, PASSWORD, FIRST, ca_file=str(bmc.ca_file), timeout_s=3.0, pause=lambda _: None)
    return replace(made, **changed)  # type: ignore[arg-type]


def _redfish_site(bmc: RedfishBmc, *, sessions: bool) -> PowerSite:
    outlet = bmc.outlets[FIRST]

    def stick(stuck: bool) -> None:
        outlet.stuck = stuck

    def hang(hanging: bool) -> None:
        bmc.faults.released.clear() if hanging else bmc.faults.released.set()

    power = _redfish(bmc, sessions=sessions)
    return PowerSite(power, replace(power, password="guessed"), lambda: outlet.on, lambda: outlet.asked, stick, hang)


def _ipmi_site(bmc: IpmiBmc) -> PowerSite:
    def hang(hanging: bool) -> None:
        bmc.process.send_signal(signal.SIGSTOP if hanging else signal.SIGCONT)

    power = Ipmi("127.0.0.1", USER, PASSWORD, bmc.port, cipher=3, timeout_s=3.0)
    return PowerSite(
        power,
        replace(power, password="guessed"),
        lambda: bmc.on,
        lambda: bmc.asked,
        lambda stuck: bmc.stick(stuck=stuck),
        hang,
    )


class _Card:
    """A network card that sleeps: whatever the address, it wakes of its own magic packet alone."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"end", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def site(self) -> PowerSite:
        power = WakeOnLan(MAC, "127.0.0.1", self._socket.getsockname()[1])
        return PowerSite(
            power,
            None,
            lambda: self._woken.wait(5),
            lambda: ["wake"] * self._woken.wait(5),
            lambda _: None,
            lambda _: None,
        )

    def _listen(self) -> None:
        mine = bytes.fromhex(MAC.replace(":", ""))
        while (said := self._socket.recv(2048)) != b"end":
            if said == b"\xff" * 6 + mine * 16:
                self._woken.set()


def test_on_is_asked_for_and_arrives(site: PowerSite) -> None:
    """Where the power can be read it is then on; asking again is no error."""
    assert site.power.state() is (PowerState.OFF if site.power.tells else PowerState.UNKNOWN)

    site.power.on()
    if site.power.tells:
        confirm(site.power, PowerState.ON, 5)
    site.power.on()

    assert site.is_on()
    assert site.asked()


def test_a_shutdown_and_a_cut_end_in_off(site: PowerSite) -> None:
    """Where the adapter can only wake, it says so, and with what the host is to be ended."""
    if not site.power.tells:
        for act in (site.power.off, site.power.cut):
            with pytest.raises(PowerRefused, match="only wakes"):
                act()
        return
    for act in (site.power.off, site.power.cut):
        site.power.on()
        act()
        confirm(site.power, PowerState.OFF, 5)
        assert not site.is_on()
        act()  # what is off already stays off
    assert site.power.state() is PowerState.OFF


def test_a_shutdown_is_no_cut(site: PowerSite) -> None:
    """The system is asked first; it may have files open."""
    if not site.power.tells:
        pytest.skip("it only wakes")
    site.power.on()
    site.power.off()
    soft = site.asked()[-1]
    site.power.on()
    site.power.cut()

    assert soft in {"GracefulShutdown", "shutdown 1"}
    assert site.asked()[-1] in {"ForceOff", "power 0"}


def test_a_wrong_password_is_told_and_does_nothing(site: PowerSite) -> None:
    """With whose login it was, and without the password."""
    if site.intruder is None:
        pytest.skip("it has no password")
    for act in (site.intruder.state, site.intruder.on, site.intruder.cut):
        with pytest.raises(PowerRefused, match=f"refuses the login of {USER}") as refused:
            act()
        assert "guessed" not in f"{refused.value!r} {refused.value.hint} {site.intruder!r}"
    assert site.asked() == []


def test_power_that_does_not_change_is_told(site: PowerSite) -> None:
    """The controller takes the order, and a reading shows that nothing came of it."""
    if not site.power.tells:
        pytest.skip("nothing tells")
    site.stick(True)
    site.power.on()

    with pytest.raises(PowerStuck, match="the power is off, not on, 3 s after"):
        confirm(site.power, PowerState.ON, 3, look_s=1, pause=lambda _: None)


def test_a_controller_that_hangs_is_given_up(site: PowerSite) -> None:
    """In bounded time, as one that does not answer; later it is asked again."""
    if not site.power.tells:
        pytest.skip("there is no controller")
    site.hang(True)
    try:
        with pytest.raises((PowerUnreachable, PowerSilent)):
            site.power.state()
    finally:
        site.hang(False)

    assert site.power.state() is PowerState.OFF


def test_the_password_is_in_no_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ipmitool gets it in its environment, which other users cannot read."""
    (tmp_path / "ipmitool").write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/words\nenv > {tmp_path}/env\necho Chassis Power is on\n'
    )
    (tmp_path / "ipmitool").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert Ipmi("192.0.2.9", USER, PASSWORD).state() is PowerState.ON

    assert PASSWORD not in (tmp_path / "words").read_text()
    assert f"IPMI_PASSWORD={PASSWORD}" in (tmp_path / "env").read_text()


def test_a_busy_controller_did_nothing(bmc: RedfishBmc) -> None:
    """503 is no answer to the question, and says what the controller said."""
    bmc.faults.busy = True

    with pytest.raises(PowerUnreachable, match="answers 503: The manager is busy"):
        _redfish(bmc).on()

    assert bmc.outlets[FIRST].asked == []


def test_a_reset_without_an_answer_may_have_been_done(bmc: RedfishBmc) -> None:
    """It is told apart from one that was surely not; the power itself says what came of it."""
    bmc.faults.silent_reset = True
    with pytest.raises(PowerSilent):
        _redfish(bmc, timeout_s=1.0).on()
    bmc.faults.silent_reset = False
    bmc.faults.released.set()

    assert _redfish(bmc).state() is PowerState.ON


def test_preconditions_and_tasks_are_followed(bmc: RedfishBmc) -> None:
    """A controller that wants If-Match gets its own ETag; one that makes a task is asked how that ended."""
    bmc.faults.strict = True

    _redfish(bmc).on()
    assert bmc.outlets[FIRST].on

    bmc.faults.failing_task = True
    with pytest.raises(PowerRefused, match="ended as Exception: The power supply is missing"):
        _redfish(bmc).off()


def test_sessions_are_closed(bmc: RedfishBmc) -> None:
    """Also after an error: controllers have few."""
    power = _redfish(bmc)
    power.on()
    bmc.outlets[FIRST].stuck = True
    with pytest.raises(PowerRefused, match="no system 7"):
        replace(power, system="7").state()

    assert bmc.sessions == set()


def test_a_certificate_that_is_not_trusted_is_refused(bmc: RedfishBmc) -> None:
    """Before the password is sent; unless the settings say that any will do."""
    with pytest.raises(PowerUnreachable, match=r"(?i)certificate"):
        _redfish(bmc, ca_file=None).state()
    with pytest.raises(PowerRefused, match=r"no\.pem cannot be read"):
        _redfish(bmc, ca_file=str(bmc.ca_file.with_name("no.pem"))).state()
    assert _redfish(bmc, ca_file=None, verify=False).state() is PowerState.OFF


def test_a_controller_of_several_systems_needs_a_name(tmp_path: Path) -> None:
    """Which one is never guessed."""
    with redfish_bmc(tmp_path, {FIRST: Outlet(), OTHER: Outlet(on=True)}) as bmc:
        with pytest.raises(PowerRefused, match="has 2 systems"):
            _redfish(bmc, system=None).state()
        assert _redfish(bmc, system=OTHER).state() is PowerState.ON
        _redfish(bmc, system=OTHER).cut()
        assert bmc.outlets[FIRST].asked == []
        assert not bmc.outlets[OTHER].on


def test_nobody_there_is_told_as_such() -> None:
    """A port that nobody listens on."""
    for power in (Redfish("https://127.0.0.1:9", USER, PASSWORD), Ipmi("127.0.0.1", USER, PASSWORD, 9, timeout_s=1)):
        if isinstance(power, Ipmi) and shutil.which("ipmitool") is None:
            continue
        with pytest.raises(PowerUnreachable, match="not answer"):
            power.state()


def test_a_host_without_power_cannot_be_switched() -> None:
    """It says what to put into the settings."""
    assert NoPower().state() is PowerState.UNKNOWN
    for act in (NoPower().on, NoPower().off, NoPower().cut):
        with pytest.raises(PowerError) as refused:
            act()
        assert "settings" in str(refused.value.hint)


@pytest.mark.parametrize("mac", ["", "52:54:00:ab:cd", "52:54:00:ab:cd:ef:00", "zz:54:00:ab:cd:ef"])
def test_what_is_no_mac_address_is_refused(mac: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequest, match="no MAC address"):
        WakeOnLan(mac).on()
