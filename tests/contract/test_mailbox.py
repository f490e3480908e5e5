"""Mailboxes on every table: what one instance has to say to another (rules D.1 to D.3)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.adapters.sqs import read_message, wake_message
from hephaestus.engine.activation import Activation
from hephaestus.engine.mail import Mail
from hephaestus.engine.records import NOTHING, Failure
from hephaestus.store.keys import life_name, mail_key
from hephaestus.store.mailbox import DAY, LARGEST
from hephaestus.store.overdue import Wakeup
from hephaestus.store.table import EXPIRES, item_bytes
from hephaestus.values import freeze
from tests.contract.instances import T0, finish, start, started

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.engine.state import State
    from hephaestus.store.store import Store

LIFE = life_name(T0, "parent")
HOUR = 3_600_000


def mail(activation: str = "ship", number: int = 7, **other: Any) -> Mail:
    """Mail to the life ``LIFE`` of an instance."""
    own = Mail("orderid::a", LIFE, activation, number, "shipping::b", "b" * 19, "completed", freeze({"parcel": 3}))
    return replace(own, **other)


def to(state: State, **other: Any) -> Mail:
    """Mail to an instance."""
    return mail(to=state.instance_id, life=state.life, **other)


def key_of(one: Mail) -> str:
    """Its sort key."""
    return mail_key(one.life, one.activation, one.number)


def alarms(store: Store, at: int = T0 + HOUR) -> list[str]:
    """What a sweep finds."""
    return sorted(key for wakeup in store.overdue(at, 100).items for key in wakeup.alarms)


def test_mail_is_read_in_order_of_its_name_and_by_life(store: Store) -> None:
    """Rule D.1: one end of a child is one item, and so is the next end of the same child."""
    sent = [mail(), mail(number=12), mail("ship@2"), mail(Activation("each", item="a#b").text, output=None)]
    sent.append(mail("nothing", output=NOTHING))
    sent.append(mail("undo", status="failed", output=None, error=Failure("Declined", "no", "")))
    for one in (*sent[::-1], mail(life=life_name(T0 + 1, "other"))):
        assert store.mail.put(one, T0)
    assert list(store.mail.read("orderid::a", LIFE)) == sorted(sent, key=key_of)
    assert list(store.mail.read("orderid::b", LIFE)) == []


def test_mail_that_is_there_is_put_once(store: Store) -> None:
    """Rule D.1: the second put changes nothing, and gives back no alarm that was removed."""
    assert store.mail.put(mail(), T0)
    store.mail.quiet("orderid::a", key_of(mail()))
    assert not store.mail.put(mail(status="failed"), T0)
    assert list(store.mail.read("orderid::a", LIFE)) == [mail()]
    assert alarms(store) == []


def test_a_sweep_finds_mail_until_it_is_deleted(store: Store) -> None:
    """Rule D.1: no message need arrive."""
    store.mail.put(mail(), T0)
    assert alarms(store, T0 - 1) == []
    assert alarms(store) == [key_of(mail())]
    store.mail.delete(mail())
    assert alarms(store) == []
    assert list(store.mail.read("orderid::a", LIFE)) == []


def test_the_message_of_a_sweep_names_the_mail() -> None:
    """As it names log entries."""
    read = read_message(json.loads(wake_message("orderid::a", [key_of(mail())])))
    assert read == Wakeup("orderid::a", 0, (key_of(mail()),))


@pytest.mark.parametrize("size", [900, 5_000])
def test_mail_is_at_most_1_kb(store: Store, size: int) -> None:
    """Rule D.1: an output that is too large stays with the child, and an error is cut."""
    long = "".join(chr(33 + n * n % 90) for n in range(size))
    large = mail(number=1, output=freeze({"text": long}))
    failed = mail(number=2, status="failed", output=None, error=Failure("Declined", long, "trace"))
    for one in (large, failed):
        store.mail.put(one, T0)
        item = store.table.get("orderid::a", key_of(one))
        assert item is not None
        assert item_bytes(item) <= LARGEST
    first, second = store.mail.read("orderid::a", LIFE)
    assert first.output is None or first == large
    assert second.error is not None
    assert long.startswith(second.error.message)
    assert len(second.error.message) > min(size, 500) - 1


def test_mail_to_an_instance_that_is_not_there_expires(store: Store) -> None:
    """Rule D.3: it has no alarm any more, and goes in a day; a later life of the id does not read it."""
    store.mail.put(mail(), T0)
    store.tidy("orderid::a", None, T0 + HOUR, alarms(store))
    item = store.table.get("orderid::a", key_of(mail()))
    assert item is not None
    assert item[EXPIRES] == (T0 + HOUR) // 1000 + DAY
    assert alarms(store) == []
    state = started(store, "orderid::a")
    assert list(store.mail.read("orderid::a", state.life)) == []


def test_mail_to_a_life_that_is_over_expires(store: Store) -> None:
    """Rule D.3: its id was started again."""
    old = finish(store, started(store, "orderid::a", owner="o"))
    start("orderid::a", at=T0 + 1).write(store)
    store.mail.put(to(old), T0)
    store.tidy("orderid::a", store.load("orderid::a"), T0 + 2, [key_of(to(old))])
    assert key_of(to(old)) not in alarms(store)
    assert EXPIRES in (store.table.get("orderid::a", key_of(to(old))) or {})


def test_mail_that_nothing_waits_for_is_removed(store: Store) -> None:
    """Rule D.3: its activation is settled."""
    state = started(store, "orderid::a")
    store.mail.put(to(state), T0)
    store.tidy("orderid::a", state, T0 + 2, [key_of(to(state))])
    assert list(store.mail.read("orderid::a", state.life)) == []


@pytest.mark.parametrize("days", [None, 30])
def test_mail_to_a_closed_instance_is_kept_for_a_redrive(make_store: Callable[..., Store], days: int | None) -> None:
    """Rule D.3: without an alarm, and not longer than the instance's own values."""
    store = make_store(retention_days=days)
    state = finish(store, started(store, "orderid::a", owner="o"))
    store.mail.put(to(state), T0)
    store.tidy("orderid::a", state, T0 + 2, alarms(store))
    assert alarms(store) == []
    assert list(store.mail.read("orderid::a", state.life)) == [to(state)]
    assert (EXPIRES in (store.table.get("orderid::a", key_of(to(state))) or {})) is (days is not None)


def test_a_deleted_instance_leaves_no_mail(store: Store) -> None:
    """Of the lives that led to it."""
    state = finish(store, started(store, "orderid::a", owner="o"))
    store.mail.put(to(state), T0)
    store.delete("orderid::a", T0 + HOUR)
    assert list(store.mail.read("orderid::a", state.life)) == []
