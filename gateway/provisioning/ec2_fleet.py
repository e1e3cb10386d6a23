"""Ec2Fleet: EC2 as a provider that makes the machines of a gang with one call for as many as a call may have.

Invariant: a call's client token is made of the gang's, of where the call begins and of how often it was in vain, so the
same gang makes the same calls again; a token whose machines were ended is never taken for machines that are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from libcloud.compute.base import Node, NodeDriver

from gateway.errors import Ambiguous, CloudError, CloudInvalid, CloudTransient
from gateway.provisioning.cloud_faults import classify
from gateway.provisioning.dialect import Dialect
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.gang_user_data import beginning_at
from gateway.provisioning.libcloud_provider import DIALECTS, LibcloudProvider
from gateway.provisioning.node import TAG_FIRST, Machine, MachineState, Size
from gateway.provisioning.one_by_one import is_refusal

MOST_A_CALL = 1000
"""Machines of one RunInstances, where the settings say nothing; the account's quota is another limit."""
ENDED_A_CALL = 200
"""Machines of one TerminateInstances: their ids are in the URL, of which 8 KB pass everywhere."""
TRIES = 20
"""Calls in a row that may be answered with machines of an earlier try, which were ended."""


class Ec2Fleet(LibcloudProvider):
    """See ``LibcloudProvider``. ``most``: machines of one call; a gang of more is several, one after the other."""

    def __init__(
        self,
        name: str,
        driver_factory: Callable[[], NodeDriver],
        *,
        sizes: tuple[Size, ...],
        image: str,
        arguments: Mapping[str, Any],
        most: int = MOST_A_CALL,
        dialect: Dialect = DIALECTS["ec2"],
    ) -> None:
        super().__init__(name, driver_factory, sizes=sizes, dialect=dialect, image=image, arguments=arguments)
        self._most = most
        self._in_vain: dict[str, int] = {}

    def create_gang(self, gang: GangOrder) -> tuple[Machine, ...]:
        """See ``NodeProvider.create_gang``: a call that is refused ends what the earlier ones made."""
        self._require_price(gang.orders[0].size)
        made: list[Machine] = []
        try:
            for first in range(0, len(gang.orders), self._most):
                made += self._part(gang, first)
        except CloudError as error:
            if is_refusal(error):
                self._take_back(made)
            raise
        return tuple(made)

    def _part(self, gang: GangOrder, first: int) -> Sequence[Machine]:
        """The machines of the call that begins at ``first``, by number."""
        count = min(self._most, len(gang.orders) - first)
        part = f"{gang.token} {first} {count}"
        begun = self._in_vain.get(part, 0)
        for vain in range(begun, begun + TRIES):
            made = self._run(gang, first, count, token=_digest(f"{part} {vain}"))
            live = [each for each in made if each.state is not MachineState.TERMINATING]
            if len(live) == len(made):
                return self._whole(made, range(first, first + count))
            # What the cloud remembers of an earlier try, made and ended again, is no answer.
            self._take_back(live)
            self._in_vain[part] = vain + 1
        raise CloudTransient(f"{self.name} still answers with the machines of earlier tries")

    def _run(self, gang: GangOrder, first: int, count: int, *, token: str) -> Sequence[Machine]:
        order = gang.orders[0]
        try:
            driver: Any = self._driver
            answer: Node | list[Node] = driver.create_node(
                name=f"gang-{gang.token[:12]}",
                size=self._size(order.size),
                image=self._image(),
                ex_mincount=count,
                ex_maxcount=count,
                ex_clienttoken=token,
                ex_userdata=beginning_at(gang.user_data, first),
                ex_metadata={**gang.tags, TAG_FIRST: str(first)},
                **{**self._arguments, **self._dialect.placing(driver, order)},
            )
        except Exception as error:  # noqa: BLE001 - drivers raise whatever their transport raises
            # Not "from error": its text may quote the request, and a traceback would show the gang's secret in it.
            raise classify(error, changes=True) from None
        return self._machines_of(answer if isinstance(answer, list) else [answer])

    def _whole(self, made: Sequence[Machine], numbers: range) -> Sequence[Machine]:
        by_number = sorted(made, key=lambda machine: -1 if machine.number is None else machine.number)
        if [machine.number for machine in by_number] != list(numbers):
            self._take_back(made)
            raise CloudInvalid(f"{self.name} does not number the machines of one call", hint="set machines_a_call = 1")
        return by_number

    def _take_back(self, made: Sequence[Machine]) -> None:
        """End what others were refused beside. Raises Ambiguous if it cannot be: it is there and costs money."""
        for begin in range(0, len(made), ENDED_A_CALL):
            named = {f"InstanceId.{n}": machine.id for n, machine in enumerate(made[begin : begin + ENDED_A_CALL], 1)}
            driver: Any = self._driver
            try:
                driver.connection.request(driver.path, params={"Action": "TerminateInstances", **named})
            except Exception as error:  # noqa: BLE001 - as above
                detail = classify(error, changes=True).detail
                raise Ambiguous(f"a gang was refused in part, and the rest could not be ended: {detail}") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
