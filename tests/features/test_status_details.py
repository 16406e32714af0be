"""Every field of `StatusDetails` reaches every place. A place that forgets a field fails here.

The fields are read from the class. If you add one, these tests list the places that still lack it.
"""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from msgspec import structs
from tests.support.cluster_harness import ClusterHarness
from tests.support.details import END_MS, LASTS_S, as_record, as_request, filled_details, part_of
from tests.support.memory_api import api_client
from tests.support.node_harness import NodeHarness
from tests.support.python_api import Embedded
from tests.support.storing_harness import StoringNode

from presenced import PresenceServer
from presenced.cluster.records import Choices, SharedClaim, UserRecord, decode_record, encode_record
from presenced.node.node import Node
from presenced.node.service import PresenceService
from presenced.presence.model import NO_DETAILS, Cause, Change, Choice, Status, StatusDetails, View
from presenced.presence.status import Claim, choice_of, decide, is_empty_choice
from presenced.protocols.v1.connect import parse_connect_query
from presenced.protocols.v1.messages import SetStatus
from presenced.runtime.instant import Instant
from presenced.storage.answers import PastChange
from presenced.storage.records import ChangeDetails, RestoredChoices, StoredClaim, StoredUser, details_json
from presenced_client.presence import UserPresence
from presenced_client.rest import PresenceApi
from presenced_client.self import Choice as ClientChoice
from presenced_client.self import Self
from presenced_client.status_requests import StatusRequests
from presenced_client.url import choice_parameters

FILLED, OTHER = filled_details(), filled_details(2)
PERMANENT = structs.replace(FILLED, until_ms=0)
FIELDS = StatusDetails.__struct_fields__
WITHOUT_END = [name for name in FIELDS if name != "until_ms"]

NOT_IN_URLS = ("data",)
"""Details that are not in the URL of a connection, because they may be long."""


def changed(details: StatusDetails, field: str) -> StatusDetails:
    """Return the details with one other field."""
    value = details.until_ms + 1 if field == "until_ms" else getattr(OTHER, field)
    return structs.replace(details, **{field: value})


# The rules.


def test_a_choice_has_every_detail() -> None:
    assert choice_of("busy", *structs.astuple(FILLED)) == Choice(Status.BUSY, FILLED)


@pytest.mark.parametrize("field", WITHOUT_END)
def test_a_detail_alone_is_a_choice_that_replaces_the_details_of_a_weak_claim(field: str) -> None:
    choice = Choice(None, StatusDetails(**{field: getattr(FILLED, field)}))
    assert not is_empty_choice(choice)
    assert decide(choice, (Claim("calendar", Status.BUSY, OTHER),)) == Choice(Status.BUSY, choice.details)


# Messages of presenced.v1.


def test_a_chosen_status_is_shown_to_others_and_to_the_users_own_devices() -> None:
    harness = NodeHarness()
    ada, bob = harness.enter("userId=ada&watch=none"), harness.enter("userId=bob")
    messages = harness.send(ada, "SET_STATUS", status="busy", expiresIn=LASTS_S, **as_request(FILLED))
    (own,) = [message for message in messages if message["type"] == "SELF"]
    assert part_of(own, FILLED) == as_record(FILLED)
    (user,) = harness.new_messages(bob)[-1]["users"]
    assert part_of(user, FILLED) == as_record(FILLED)


def test_the_own_devices_see_the_choice_that_a_claim_overrides() -> None:
    own = claimed_self()
    assert part_of(own, FILLED) == as_record(OTHER)
    assert own["choice"] == {name: value for name, value in as_record(FILLED).items() if name not in NOT_IN_URLS}


def claimed_self() -> dict[str, Any]:
    """Return the SELF of a user with a filled choice, which a filled claim overrides."""
    harness = NodeHarness()
    ada = harness.enter("userId=ada")
    harness.send(ada, "SET_STATUS", status="busy", expiresIn=LASTS_S, **as_request(FILLED))
    harness.service.set_claim("ada", Claim("calendar", Status.AWAY, OTHER, 10), LASTS_S)
    return [message for message in harness.new_messages(ada) if message["type"] == "SELF"][-1]


def test_a_url_restores_the_choice() -> None:
    in_url = {name: value for name, value in as_record(FILLED).items() if name not in NOT_IN_URLS}
    found = parse_connect_query(urlencode({"status": "busy", **in_url}).encode())
    assert found.choice == Choice(Status.BUSY, structs.replace(FILLED, **dict.fromkeys(NOT_IN_URLS, b"")))


# The database.


def test_a_choice_is_the_same_after_a_restart() -> None:
    before, after = StoringNode(), StoringNode(restored=False)
    PresenceService(before.node).set_status("ada", Choice(Status.AWAY, PERMANENT))
    PresenceService(before.node).set_status("ada", Choice(Status.BUSY, OTHER), LASTS_S)
    before.pass_period()
    stored: StoredUser = before.worker.of(StoredUser)[-1]
    after.write_behind.restore([RestoredChoices("ada", stored.chosen, stored.timed)])
    assert choices(after.node) == (Choice(Status.AWAY, PERMANENT), Choice(Status.BUSY, OTHER))


def choices(node: Node) -> tuple[Choice, Choice | None]:
    """Return the permanent and the temporary choice of Ada."""
    user = node.directory.users.user("ada")
    assert user is not None
    return user.chosen, user.timed


def test_a_claim_is_the_same_after_a_restart() -> None:
    before, after = StoringNode(), StoringNode(restored=False)
    PresenceService(before.node).set_claim("ada", Claim("calendar", Status.BUSY, FILLED), LASTS_S)
    before.pass_period()
    after.write_behind.restore(before.worker.of(StoredClaim))
    (claim,) = PresenceService(after.node).claims_of("ada")
    assert claim.details == FILLED


def test_the_history_has_every_detail() -> None:
    at = Instant(0.0, 0)
    change = Change(1, "ada", View(Status.BUSY, FILLED, ("web",)), Status.ONLINE, 1, at, 0, 0, Cause.CHOICE)
    stored = msgspec.json.decode(details_json(change), type=ChangeDetails)
    past = PastChange(1, "busy", "online", "choice", 0, *structs.astuple(stored))
    assert part_of(msgspec.json.decode(msgspec.json.encode(past)), FILLED) == as_record(FILLED)
    assert past.devices == ("web",)


# The HTTP API and the Python interface.


@pytest.mark.anyio
async def test_every_response_of_the_http_api_has_every_detail() -> None:
    async with api_client() as (service, client):
        start = service.position_text(service.position)
        body = {"status": "busy", **as_request(FILLED), "expiresIn": LASTS_S}
        service.announce("ada", True)
        shown = (await client.put("/users/ada/status", json=body)).json()
        changes = (await client.get("/changes", params={"after": start})).json()["changes"]
        body = {**body, **as_request(OTHER), "priority": 0}
        assert (await client.put("/users/ada/claims/calendar", json=body)).status_code == 200
        claims = (await client.get("/users/ada/claims")).json()["claims"]
        explained = (await client.get("/users/ada/explain")).json()
    expected = as_record(FILLED)
    assert part_of(shown, FILLED) == expected, "user"
    assert part_of(changes[-1], FILLED) == expected, "change"
    assert part_of(claims[0], FILLED) == as_record(OTHER), "claim"
    for name in ("shown", "own", "timed"):
        assert part_of(explained[name], FILLED) == expected, name
    assert part_of(explained["claims"][0], FILLED) == as_record(OTHER), "claim of an explanation"


def test_every_result_of_the_python_interface_has_every_detail() -> None:
    server = Embedded()
    server.announce("ada", True)
    shown = server.set_status("ada", "busy", **as_request(FILLED), expires_in=LASTS_S)
    server.set_claim("ada", "calendar", "away", **as_request(OTHER), expires_in=LASTS_S)
    explained = server.explain("ada")
    for name, result in {"presence": shown, "own": explained.own, "chosen": explained.timed}.items():
        assert python_details(result) == as_record(FILLED), name
    assert python_details(explained.changes[0]) == as_record(FILLED), "change"
    assert python_details(server.claims("ada")[0]) == as_record(OTHER), "claim"


def python_details(result: Any) -> dict[str, Any]:
    """Return the details of a result of the Python interface, as in records."""
    found = {name: getattr(result, name, None) for name in as_record(FILLED)}
    assert found["until"] == datetime.fromtimestamp(END_MS / 1000, UTC)
    return {**found, "until": END_MS}


@pytest.mark.parametrize("name", ["set_status", "set_claim"])
def test_the_client_of_the_http_api_sends_every_detail(name: str) -> None:
    parameters = inspect.signature(getattr(PresenceApi, name)).parameters
    assert parameters.keys() == inspect.signature(getattr(PresenceServer, name)).parameters.keys()
    assert as_request(FILLED).keys() <= parameters.keys()


# Several nodes.


def test_a_record_of_a_cluster_is_the_same_after_encoding() -> None:
    chosen = Choices(Status.BUSY, PERMANENT, 5, Status.AWAY, OTHER, 6)
    claims = (SharedClaim("calendar", 3, Status.BUSY, FILLED, 10),)
    view = View(Status.BUSY, FILLED)
    record = UserRecord(view, 1, 2, Cause.CHOICE, chosen=chosen, claims=claims)
    assert decode_record(encode_record(record)) == record


def test_every_node_and_the_designated_writer_have_every_detail() -> None:
    cluster = ClusterHarness(stores=True)
    first, second = cluster.nodes["a"], cluster.nodes["b"]
    first.connect("ada")
    cluster.run()
    first.service.set_status("ada", Choice(Status.AWAY, PERMANENT))
    lasts = (END_MS - cluster.clock.now().epoch_ms) / 1000
    first.service.set_claim("ada", Claim("calendar", Status.BUSY, FILLED, 10), lasts)
    cluster.run(10, step=0.05)
    assert cluster.statuses("ada") == {"a": "busy", "b": "busy"}
    assert second.service.view_of("ada").details == FILLED
    assert choices(second.node) == (Choice(Status.AWAY, PERMANENT), None)
    assert [claim.details for claim in second.service.claims_of("ada")] == [FILLED]
    assert cluster.database is not None
    restarted = StoringNode(restored=False)
    stored = cluster.database.users["ada"]
    restarted.write_behind.restore([RestoredChoices("ada", stored.chosen, stored.timed)])
    restarted.write_behind.restore(list(cluster.database.claims.values()))
    assert choices(restarted.node) == (Choice(Status.AWAY, PERMANENT), None)
    assert [claim.details for claim in PresenceService(restarted.node).claims_of("ada")] == [FILLED]


# The Python client.


def test_the_python_client_shows_every_detail_of_others() -> None:
    record = {"userId": "ada", "status": "busy", "since": 1, "version": 1, **as_record(FILLED)}
    user = UserPresence.from_record(record)
    assert {name: getattr(user, name, None) for name in as_record(FILLED)} == as_record(FILLED)
    for name, value in as_record(changed(changed(OTHER, "until_ms"), "until_ms")).items():
        assert not user.shows_the_same(UserPresence.from_record({**record, name: value})), name


def test_the_python_client_shows_every_detail_of_its_own_state() -> None:
    own = Self.from_message({"type": "SELF", "status": "busy", "chosen": "busy", **as_record(FILLED)})
    assert {name: getattr(own, name, None) for name in as_record(FILLED)} == as_record(FILLED)


def test_the_url_of_the_python_client_restores_the_choice_that_a_claim_overrides() -> None:
    query = urlencode(choice_parameters(Self.from_message(claimed_self())))
    found = parse_connect_query(query.encode()).choice
    assert found == Choice(Status.BUSY, structs.replace(FILLED, **dict.fromkeys(NOT_IN_URLS, b"")))


def client_choice() -> ClientChoice:
    return ClientChoice("busy", **as_request(FILLED), ends_at=LASTS_S)


def own_with(details: StatusDetails) -> Self:
    return Self.from_message({"type": "SELF", "status": "busy", "chosen": "busy", **as_record(details)})


def test_the_python_client_requests_every_detail() -> None:
    request = msgspec.json.decode(msgspec.json.encode(client_choice().request(now=0.0)), type=SetStatus)
    found = {name: getattr(request, name, None) for name in as_request(FILLED)}
    assert {**found, "data": msgspec.json.decode(request.data)} == as_request(FILLED)


@pytest.mark.parametrize("field", FIELDS)
def test_the_python_client_sends_a_choice_again_if_one_detail_of_it_is_not_in_force(field: str) -> None:
    """For a lost answer. Two choices that end at different times count as equal, because only the server knows when."""
    assert client_choice().is_shown_by(own_with(FILLED))
    other = structs.replace(FILLED, until_ms=0) if field == "until_ms" else changed(FILLED, field)
    assert not client_choice().is_shown_by(own_with(other))


@pytest.mark.parametrize("field", FIELDS)
def test_the_python_client_notices_a_choice_of_another_device_by_every_detail(field: str) -> None:
    requests = StatusRequests()
    requests.own_arrived(own_with(NO_DETAILS))
    requests.choose(client_choice())
    requests.next_request(1, 0.0)
    requests.answered(1, None)
    assert requests.choice_to_show == client_choice(), "accepted, and not shown yet"
    requests.own_arrived(own_with(NO_DETAILS))
    assert requests.choice_to_show == client_choice(), "SELF has not changed"
    requests.own_arrived(own_with(structs.replace(NO_DETAILS, **{field: getattr(OTHER, field)})))
    assert requests.choice_to_show is None
