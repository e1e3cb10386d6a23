"""Joining as one of a gang: the machines share their user-data, and each still has a token of its own, good once."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from test_joining import HOST_KEY, NODE_ADDRESS, PATH, Newcomer, Site, alarms, refused

from gateway import wire
from gateway.errors import BadSignature
from gateway.identity.authenticate import Request
from gateway.identity.join import gang_kid, node_kid, token_hash
from gateway.identity.keys import public_jwk
from gateway.identity.signature import sign_request
from gateway.provisioning.gang_user_data import one_time_token
from gateway.provisioning.lifecycle import NodeState

GANG = "0123456789abcdef0123456789abcdef"
SECRET = "the-secret-of-the-gang"
NODES = ("small-1", "small-2")


@dataclass
class Member(Newcomer):
    """A machine that knows its gang and its number, and makes its token of the gang's secret."""

    number: int = 0

    def __post_init__(self) -> None:
        self.token = one_time_token(SECRET, self.number)

    def request(self, **signed) -> tuple[wire.JoinRequest, Request]:
        said = {"gang": GANG, "number": self.number, "token": self.token, "public_key": public_jwk(self.key)}
        body = json.dumps({**said, "ssh_host_keys": [HOST_KEY]}).encode()
        facts = {"key": self.key, "kid": gang_kid(GANG, self.number), "method": "POST", "path": PATH}
        facts |= {"body": body, "audience": "burst", "now": self.site.now, **signed}
        request = Request("POST", PATH, body, f"Burst {sign_request(**facts)}")
        return wire.JoinRequest.model_validate_json(body), request


@pytest.fixture
def site(database) -> Site:
    """small-1 and small-2 are booting: machines 0 and 1 of one gang."""
    site = Site(database)
    with site.works() as work:
        for number, name in enumerate(NODES):
            mine = {"gang": GANG, "gang_number": number, "join_token_hash": token_hash(one_time_token(SECRET, number))}
            work.fleet.note(work.fleet.get(name), **mine)
    return site


def test_each_is_told_which_node_it_is(site):
    """And as whom certificates open it, which its user-data could not say."""
    replies = [Member(site, number=number).join() for number in (1, 0)]

    assert [(reply.node, reply.generation) for reply in replies] == [("small-2", 1), ("small-1", 1)]
    assert replies[0].principals == {"root": "node:small-2:1:root", "burst-job": "node:small-2:1:burst-job"}
    assert [site.node(name).state for name in NODES] == [NodeState.BOOTSTRAPPED] * 2
    assert [record[0] for record in site.audited()] == ["done", "done"]


def test_a_lost_reply_is_asked_for_again(site):
    """The same answer, and nothing happens twice."""
    member = Member(site, number=1)

    assert member.join() == member.join()
    assert len(site.audited()) == 1


def test_the_token_of_one_does_not_open_the_place_of_another(site):
    """Machine 1's token is as foreign for number 0 as any; number 0 then joins as if nothing had been."""
    thief = Member(site, number=0)
    thief.token = one_time_token(SECRET, 1)

    refused(site, "foreign", thief.join)

    assert Member(site, number=0).join().node == "small-1"


def test_a_token_is_not_good_for_another_number_by_signature(site):
    """The signature names the number, so a request of number 1 cannot be made one of number 0."""
    refused(site, "unproven", lambda: Member(site, number=0).join(kid=gang_kid(GANG, 1)))
    refused(site, "unproven", lambda: Member(site, number=0).join(kid=node_kid("small-1", 1)))


def test_who_makes_anothers_token_of_the_secret_is_found_out(site):
    """A machine has its gang's secret, and may take another's place; that other is refused, and it is an alarm."""
    thief = Member(site, number=0, address="10.0.0.8")
    assert thief.join().node == "small-1"

    refused(site, "stolen", Member(site, number=0).join)
    assert site.told()[0].startswith("a join was not as it should be (elsewhere): joined from 10.0.0.8")


def test_a_gang_or_number_that_does_not_exist_is_foreign(site):
    """No node has a timeline for it; the alarm names the gang."""
    counted = alarms("foreign")

    with pytest.raises(BadSignature, match="not valid"):
        Member(site, number=2).join()

    assert alarms("foreign") == counted + 1
    assert site.audited()[-1][:4] == ("alarm", f"node:gang {GANG}", f"node:gang {GANG}", NODE_ADDRESS)


def test_the_token_of_an_earlier_gang_is_foreign(site):
    """A node's next machine may be one of another gang; what the first one had opens nothing then."""
    with site.works() as work:
        work.fleet.note(work.fleet.get("small-1"), gang="f" * 32)

    with pytest.raises(BadSignature, match="not valid"):
        Member(site, number=0).join()

    assert site.node() == replace(site.node(), state=NodeState.BOOTING, public_key=None)
