"""Subscriptions: which watchers are notified about which users and rooms."""

from presenced.presence.subscriptions import Selection, Subscription, SubscriptionIndex


def watched(*users: str, everyone: bool = False, rooms: tuple[str, ...] = ()) -> Selection:
    chosen = Selection(everyone)
    chosen.add(False, users, rooms)
    return chosen


def test_watchers_are_found_by_their_subscriptions() -> None:
    index: SubscriptionIndex[str] = SubscriptionIndex()
    index.add("all", watched(everyone=True))
    index.add("a", watched("1", "2"))
    index.add("b", watched("2", rooms=("lobby",)))
    assert list(index.everyone) == ["all"]
    assert set(index.subscribers_of("1")) == {"a"}
    assert set(index.subscribers_of("2")) == {"a", "b"}
    assert set(index.subscribers_of("3")) == set()
    assert set(index.subscribers_of_room("lobby")) == {"b"}


def test_removing_a_watcher_frees_all_its_memory() -> None:
    index: SubscriptionIndex[str] = SubscriptionIndex()
    chosen = watched("1", everyone=True, rooms=("lobby",))
    index.add("a", chosen)
    index.remove("a", chosen)
    index.remove("a", chosen)
    assert (index.everyone, index._by_user, index._by_room) == ({}, {}, {})


def test_a_selection_grows_and_shrinks() -> None:
    chosen = Subscription(Selection(everyone=True)).full
    chosen.add(False, ["1", "2"], ["lobby"])
    assert (chosen.everyone, chosen.users, chosen.rooms) == (True, {"1", "2"}, {"lobby"})
    chosen.discard(True, ["1", "7"], ["bar"])
    assert (chosen.everyone, chosen.users, chosen.rooms) == (False, {"2"}, {"lobby"})
