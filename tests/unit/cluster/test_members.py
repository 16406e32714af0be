"""Leases: who is declared dead, by whom, and after how much contact time."""

from __future__ import annotations

from msgspec import msgpack
from msgspec.structs import astuple

from presenced.cluster.backend import Member, State
from presenced.cluster.members import DutyKind, Figures, Members, figures_of, writer_of

LEASE_S = 15.0


def member(slot: int, heartbeat: int = 0, state: State = State.READY, remover: str = "") -> Member:
    return Member(slot, f"node{slot}", f"inc{slot}", heartbeat, state, b"", remover)


class Observer:
    """Node 0, which looks once a second."""

    def __init__(self, settling_s: float = 0.0) -> None:
        self.members = Members(LEASE_S, settling_s)
        self.members.incarnation = "inc0"
        self.now = 100.0

    def look(self, *others: Member, after: float = 1.0) -> list[tuple[str, int]]:
        self.now += after
        self.members.look(self.now)
        duties = self.members.observe([member(0), *others])
        return [(duty.kind.value, duty.member.slot) for duty in duties]


def test_a_node_without_a_new_heartbeat_for_the_lease_is_declared_dead() -> None:
    observer = Observer()
    assert [observer.look(member(1)) for _ in range(15)] == [[]] * 15
    assert observer.look(member(1)) == [(DutyKind.DECLARE_DEAD.value, 1)]


def test_users_of_nodes_that_all_stopped_before_have_the_settling_time_to_return() -> None:
    left = member(2, state=State.LEAVING)._replace(figures=msgpack.encode(Figures(leave_grace_s=20)))
    observer = Observer(settling_s=35)
    assert [observer.look(member(1), left) for _ in range(35)] == [[]] * 35
    assert observer.look(member(1), left) == [(DutyKind.DECLARE_DEAD.value, 1), (DutyKind.DECLARE_DEAD.value, 2)]


def test_a_node_that_was_heard_of_or_joined_later_has_the_lease_only() -> None:
    observer = Observer(settling_s=35)
    observer.look(member(1, heartbeat=7))
    observer.look(member(1, heartbeat=8), member(2))
    found = [observer.look(member(1, heartbeat=8), member(2)) for _ in range(15)]
    assert found[:14] == [[]] * 14
    assert found[14] == [(DutyKind.DECLARE_DEAD.value, 1), (DutyKind.DECLARE_DEAD.value, 2)]


def test_a_heartbeat_begins_the_lease_again() -> None:
    observer = Observer()
    for beat in range(100):
        assert observer.look(member(1, beat // 3)) == []


def test_a_new_incarnation_in_the_same_slot_has_its_own_lease() -> None:
    observer = Observer()
    for _ in range(14):
        observer.look(member(1))
    assert [observer.look(member(1)._replace(incarnation="other")) for _ in range(10)] == [[]] * 10


def test_time_in_which_the_observer_did_not_look_does_not_count() -> None:
    observer = Observer()
    observer.look(member(1))
    assert observer.look(member(1), after=3600.0) == []
    assert observer.members.contact == 1.0


def test_time_without_the_store_does_not_count_and_signs_begin_anew() -> None:
    observer = Observer()
    for _ in range(14):
        observer.look(member(1))
    observer.members.lost()
    assert [observer.look(member(1)) for _ in range(15)] == [[]] * 15


def test_the_observer_that_won_removes_and_others_wait() -> None:
    observer = Observer()
    assert observer.look(member(1, state=State.DEAD, remover="inc0")) == [(DutyKind.REMOVE.value, 1)]
    for _ in range(40):
        assert observer.look(member(1, state=State.DEAD, remover="inc2"), member(2, int(observer.now))) == []


def test_a_dead_node_whose_remover_is_gone_is_taken_over() -> None:
    observer = Observer()
    found = [observer.look(member(1, state=State.DEAD, remover="inc2")) for _ in range(16)]
    assert found[-1] == [(DutyKind.DECLARE_DEAD.value, 1)]


def test_users_of_a_leaving_node_have_the_time_that_it_says() -> None:
    observer = Observer()
    leaving = member(1, state=State.LEAVING)._replace(figures=msgpack.encode(Figures(leave_grace_s=20.0)))
    assert [observer.look(leaving) for _ in range(20)] == [[]] * 20
    assert observer.look(leaving) == [(DutyKind.DECLARE_DEAD.value, 1)]


def test_a_leaving_node_with_figures_that_this_release_cannot_decode_has_the_lease() -> None:
    observer = Observer()
    leaving = member(1, state=State.LEAVING)._replace(figures=b"\xff")
    assert [observer.look(leaving) for _ in range(15)] == [[]] * 15
    assert observer.look(leaving) == [(DutyKind.DECLARE_DEAD.value, 1)]


def test_figures_of_another_release_are_read_as_far_as_they_are_known() -> None:
    assert figures_of(member(1)._replace(figures=msgpack.encode([*astuple(Figures("9.0", 3)), "new"]))).connections == 3
    assert figures_of(member(1)._replace(figures=b"\xff")) == Figures()


def test_a_node_whose_heartbeats_are_late_is_silent() -> None:
    observer = Observer()
    for _ in range(7):
        observer.look(member(1))
    assert not observer.members.is_silent(1)
    observer.look(member(1))
    assert observer.members.is_silent(1)
    assert not observer.members.is_silent(2), "unknown"


def test_the_designated_writer_changes_only_if_it_goes() -> None:
    nodes = [(member(slot), Figures(has_database=True)) for slot in range(5)]
    writers = [writer_of(shard, nodes) for shard in range(8)]
    gone = writers[0]
    left = [(one, figures) for one, figures in nodes if one != gone]
    for shard, writer in enumerate(writers):
        assert writer is not None
        assert writer_of(shard, left) == writer if writer != gone else writer_of(shard, left) != gone
    assert writer_of(0, [(member(1), Figures(has_database=False))]) is None
    assert writer_of(0, [(member(1, state=State.LEAVING), Figures(has_database=True))]) is None
