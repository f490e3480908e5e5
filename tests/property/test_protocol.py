"""The rules of the storage protocol, explored state by state: each holds, and each variant of it fails.

``--large-models`` explores scenes of some hundred thousand states as well.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.property.protocol import instance, mailbox, permits, rates, restart
from tests.property.protocol.explore import explore


def _near(*actors: str, end: int = 4, duplicates: int = 0) -> instance.Scene:
    """The second timer is due before the lease of whoever takes the first has ended."""
    return instance.Scene("waiting", actors, due=(1, 2), end=end, lease=3, duplicates=duplicates)


def _late(*actors: str, end: int, hand_overs: int = 0, duplicates: int = 0) -> instance.Scene:
    """The head of the last boundary is late."""
    return instance.Scene("head late", actors, end=end, lease=3, hand_overs=hand_overs, duplicates=duplicates)


SMALL_SCENES: Final = (
    instance.Scene("owned", ("waker",), duplicates=1),
    instance.Scene("owned", ("waker",), lease=4, hand_overs=1, end=5),
    instance.Scene("owned", ("event", "paused"), end=3),
    instance.Scene("waiting", ("waker", "waker")),
    instance.Scene("waiting", ("event in place",), due=(3, 4), lease=1),
    instance.Scene("waiting", ("cancelled", "waker"), end=3, duplicates=1),
    _near("waker", "waker"),
    _near("event", "waker"),
    _near("paused", "waker", duplicates=1),
    _late("event", "waker", end=2, hand_overs=1),
    _late("event", "waker", end=1, hand_overs=1, duplicates=1),
    _late("event in place", end=4, hand_overs=1, duplicates=1),
    _late("paused", "unpaused", "waker", end=2),
)
LARGE_SCENES: Final = (
    instance.Scene("owned", ("waker", "waker"), hand_overs=1, end=3),
    instance.Scene("owned", ("paused", "waker"), hand_overs=1, end=3),
    instance.Scene("owned", ("cancelled", "waker"), end=3, lease=3),
    instance.Scene("waiting", ("cancelled", "paused", "waker"), end=2, due=(1, 2)),
    instance.Scene("waiting", ("paused", "unpaused", "waker"), end=3),
    instance.Scene("waiting", ("event in place", "event in place"), hand_overs=1, end=3),
    _near("event in place", "waker", duplicates=1),
    _late("event in place", "waker", end=3, hand_overs=1),
    _late("event", "waker", "waker", end=2),
)


def _named(scene: instance.Scene) -> str:
    return f"{scene.start}: {', '.join(scene.actors)}, {scene.due}, {scene.lease}, {scene.end}, {scene.duplicates}"


@pytest.mark.parametrize("scene", SMALL_SCENES, ids=_named)
@pytest.mark.parametrize("reads", ["head, log", "log, head"])
def test_rules_1_to_4_hold(scene: instance.Scene, reads: str) -> None:
    """In whichever order head and newest entry are read."""
    rules = instance.Rules(reads=reads)  # type: ignore[arg-type]  # one of its words
    assert (found := explore(instance.Instance(rules, scene))).wrong is None, found


ALTERNATIVES: Final = {
    "head and newest entry are read at once": instance.Rules(reads="at once"),
    "a boundary always carries its wake": instance.Rules(boundary_wakes="all"),
    "an owner outlives its lease": instance.Rules(zombies=True),
    "the newest entry alone is known": instance.Rules(reads="log, head", knows="entry"),
}


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_alternatives_to_rules_1_to_4_hold(name: str) -> None:
    """They cost more, or tell less."""
    for scene in SMALL_SCENES[-4:]:
        assert (found := explore(instance.Instance(ALTERNATIVES[name], scene))).wrong is None, found


OWNED, WAITING = SMALL_SCENES[1], instance.Scene("waiting", ("cancelled", "waker"), end=3)
BROKEN: Final = {
    "a boundary compares with the earliest alarm it sees": (
        instance.Rules(boundary_wakes="before the earliest seen"),
        LARGE_SCENES[7],
    ),
    "a boundary carries no alarm": (instance.Rules(boundary_wakes="none"), OWNED),
    "a claim carries no alarm": (instance.Rules(claims=False), SMALL_SCENES[4]),
    "an outsider's entry carries no alarm": (instance.Rules(outsiders=False), WAITING),
    "the head is written before the log": (instance.Rules(order="head, log"), OWNED),
    "alarms are stripped before the head": (instance.Rules(strips="when decided"), OWNED),
    "alarms are stripped up to the newest entry": (instance.Rules(strips="all"), OWNED),
    "a head overwrites a newer one": (instance.Rules(head_is_newer=False), SMALL_SCENES[10]),
    "a waker that finds nothing to do does nothing": (instance.Rules(repairs=False), SMALL_SCENES[8]),
    "the head alone is known": (instance.Rules(knows="head"), WAITING),
}


@pytest.mark.parametrize("name", BROKEN)
def test_without_one_of_rules_1_to_4_something_is_lost(name: str) -> None:
    """And the same scene holds with it."""
    rules, scene = BROKEN[name]
    found = explore(instance.Instance(rules, scene))
    assert found.wrong is not None
    assert found.trace


def _children(
    *actors: str, waiting: bool = True, children: int = 1, duplicates: int = 0, deaths: int = 0, wakes: int = 0
) -> mailbox.Scene:
    return mailbox.Scene(actors, waiting, children, duplicates, deaths, wakes)


END, OWNER, WAKER, DEADLINE, REDRIVE = "closer", "owner", "waker", "deadline", "redrive"
AN_OWNER_AND_WAKERS: Final = _children(END, OWNER, WAKER, WAKER, waiting=False, duplicates=1)
AN_OWNER: Final = _children(END, OWNER, WAKER, waiting=False, duplicates=1)
A_WAKER: Final = _children(END, WAKER, WAKER, duplicates=1)
A_DEADLINE: Final = _children(END, WAKER, DEADLINE, duplicates=1)
A_REDRIVE: Final = _children(END, WAKER, DEADLINE, REDRIVE)
A_LATE_WAKE: Final = _children(END, WAKER, DEADLINE, REDRIVE, wakes=1)
RULE_5: Final = {
    "an owner and two wakers": (mailbox.Rules(), AN_OWNER_AND_WAKERS),
    "two wakers": (mailbox.Rules(), A_WAKER),
    "an end is written by two": (mailbox.Rules(), _children(END, END, WAKER, duplicates=1)),
    "an owner dies": (mailbox.Rules(), _children(END, OWNER, WAKER, waiting=False, duplicates=1, deaths=1)),
    "a deadline": (mailbox.Rules(), A_DEADLINE),
    "a redrive": (mailbox.Rules(), A_REDRIVE),
    "alternative: the mailbox is read again after the head": (
        mailbox.Rules(looks_again="after the head"),
        AN_OWNER_AND_WAKERS,
    ),
    "alternative: not read again, but wakes come again": (
        mailbox.Rules(looks_again="never", drops=False),
        _children(END, OWNER, WAKER, waiting=False),
    ),
}
LARGE_RULE_5: Final = {
    "two children": _children(END, END, WAKER, WAKER, children=2),
    "two children and an owner": _children(END, END, OWNER, WAKER, waiting=False, children=2),
    "a redrive and a wake for nothing": A_LATE_WAKE,
    "a redrive and an owner that dies": _children(END, DEADLINE, REDRIVE, WAKER, deaths=1),
}


@pytest.mark.parametrize("name", RULE_5)
def test_rule_5_holds(name: str) -> None:
    """Without a crash no sweep is needed, and with one the sweeper is enough."""
    rules, scene = RULE_5[name]
    assert (found := explore(mailbox.Mailbox(rules, scene))).wrong is None, found


BROKEN_5: Final = {
    "a waker reads the log before the mailbox": (mailbox.Rules(reads="log, mail"), A_LATE_WAKE),
    "the mailbox is not read again": (mailbox.Rules(looks_again="never"), AN_OWNER),
    "mail is deleted before it is committed": (mailbox.Rules(consumes="delete, commit"), AN_OWNER),
    "settled mail is consumed": (mailbox.Rules(deletes_settled=False), AN_OWNER),
    "the child's head is written before its mail": (mailbox.Rules(end=("log", "head", "mail", "wake")), AN_OWNER),
    "the wake is sent before the mail": (
        mailbox.Rules(end=("log", "wake", "mail", "head")),
        _children(END, WAKER, duplicates=1),
    ),
    "mail carries no alarm": (mailbox.Rules(mail_alarm=False), AN_OWNER_AND_WAKERS),
    "mail to a closed parent keeps its alarm": (mailbox.Rules(when_closed="keep"), A_DEADLINE),
    "mail to a closed parent is deleted": (mailbox.Rules(when_closed="delete"), A_DEADLINE),
    "a claim carries no alarm": (mailbox.Rules(claim_alarm=False), A_WAKER),
    "a redrive carries no alarm": (mailbox.Rules(redrive_alarm=False), A_REDRIVE),
    "a redriven parent takes mail with an alarm only": (mailbox.Rules(redrive_reads=False), A_REDRIVE),
}


@pytest.mark.parametrize("name", BROKEN_5)
def test_without_a_part_of_rule_5_an_end_is_lost_or_late(name: str) -> None:
    rules, scene = BROKEN_5[name]
    found = explore(mailbox.Mailbox(rules, scene))
    assert found.wrong is not None
    assert found.trace


def _starts(*actors: str, duplicates: int = 0) -> restart.Scene:
    return restart.Scene(actors, duplicates)


RULE_6: Final = {
    "a start and a redrive": (restart.Rules(), _starts("owner", "start", "redrive", duplicates=1)),
    "two starts and a redrive": (restart.Rules(), _starts("owner", "start", "start", "redrive")),
    "two starts": (restart.Rules(), _starts("owner", "start", "start", duplicates=1)),
    "two starts and a waker": (restart.Rules(), _starts("start", "start", "waker")),
    "alternative: the log is read first": (
        restart.Rules(reads="log, head"),
        _starts("owner", "start", "start", duplicates=1),
    ),
    "alternative: another start is answered at once": (
        restart.Rules(helps=False),
        _starts("start", "start", "waker"),
    ),
    "alternative: the old life's effects first": (
        restart.Rules(order="effects first"),
        _starts("owner", "start", "redrive"),
    ),
}
LARGE_RULE_6: Final = {
    "two starts, an owner and a waker": (restart.Rules(), _starts("owner", "start", "start", "waker")),
    "a start, a redrive and a waker": (restart.Rules(), _starts("owner", "start", "redrive", "waker")),
    "the log is read first, a redrive": (
        restart.Rules(reads="log, head"),
        _starts("owner", "start", "start", "redrive"),
    ),
}


@pytest.mark.parametrize("name", RULE_6)
def test_rule_6_holds(name: str) -> None:
    """Whoever won the number has started; every retry is answered truthfully; the id stays usable."""
    rules, scene = RULE_6[name]
    assert (found := explore(restart.Restart(rules, scene))).wrong is None, found


BROKEN_6: Final = {
    "superseded carries no alarm": (restart.Rules(alarm=False), _starts("owner", "start")),
    "a start is not sure of what it has won": (restart.Rules(sure=False), _starts("start", "start", "waker")),
    "the new head alone is the start": (restart.Rules(start="head"), _starts("owner", "start", "redrive")),
    "the new head alone, on the sequence that was read": (
        restart.Rules(start="head", replaces="the life and sequence"),
        _starts("owner", "start", "redrive"),
    ),
    "the old life's effects are not performed": (restart.Rules(finishes=False), _starts("owner", "start")),
    "a head is written over that of another life": (
        restart.Rules(head_of_life=False),
        _starts("owner", "start", "waker", duplicates=1),
    ),
    "any head is replaced": (restart.Rules(replaces="any"), _starts("owner", "start", "start", duplicates=1)),
    "alarms of earlier lives stay": (restart.Rules(strips_earlier=False), _starts("owner", "start", "waker")),
    "the head alone says whether a life is closed": (restart.Rules(log_decides=False), _starts("owner", "start")),
}


@pytest.mark.parametrize("name", BROKEN_6)
def test_without_a_part_of_rule_6_a_start_or_an_end_is_lost(name: str) -> None:
    rules, scene = BROKEN_6[name]
    found = explore(restart.Restart(rules, scene))
    assert found.wrong is not None
    assert found.trace


@pytest.mark.large
@pytest.mark.parametrize("scene", LARGE_SCENES, ids=_named)
def test_rules_1_to_4_hold_in_large_scenes(scene: instance.Scene) -> None:
    assert (found := explore(instance.Instance(instance.Rules(), scene))).wrong is None, found


@pytest.mark.large
@pytest.mark.parametrize("name", LARGE_RULE_5)
def test_rule_5_holds_in_large_scenes(name: str) -> None:
    assert (found := explore(mailbox.Mailbox(mailbox.Rules(), LARGE_RULE_5[name]))).wrong is None, found


@pytest.mark.large
@pytest.mark.parametrize("name", LARGE_RULE_6)
def test_rule_6_holds_in_large_scenes(name: str) -> None:
    rules, scene = LARGE_RULE_6[name]
    assert (found := explore(restart.Restart(rules, scene))).wrong is None, found


LIMITS: Final = (
    permits.Scene(1, repeats=1),
    permits.Scene(2, repeats=1),
    permits.Scene(1, leave=2),
    permits.Scene(2, contenders=4, leave=1),
    permits.Scene(1, deaths=1, leave=1),
    permits.Scene(2, deaths=2),
    permits.Scene(3, contenders=4),
)


@pytest.mark.parametrize("scene", LIMITS, ids=str)
def test_permits_are_never_more_than_there_are_and_everyone_is_called(scene: permits.Scene) -> None:
    """Rules F.1 and F.4."""
    assert (found := explore(permits.Permits(permits.Rules(), scene))).wrong is None, found


@pytest.mark.parametrize("scene", LIMITS[2:5], ids=str)
def test_a_mark_without_a_line_is_removed_by_who_gives_back(scene: permits.Scene) -> None:
    """Where two that leave do not notice each other: the rule costs nothing, and keeps the mark exact."""
    assert (found := explore(permits.Permits(permits.Rules(leaving=False), scene))).wrong is None, found


WRONG_LIMITS: Final = {
    "joining reads, then writes": (permits.Rules(joins="read, write"), LIMITS[0]),
    "taking reads, then writes": (permits.Rules(takes="read, write"), LIMITS[0]),
    "giving back frees, and calls no one": (permits.Rules(gives="frees"), LIMITS[0]),
    "who empties the line does not look who joined": (permits.Rules(empties=False), LIMITS[0]),
    "no sweep frees what the dead hold": (permits.Rules(sweeps=False), LIMITS[5]),
}


@pytest.mark.parametrize("name", WRONG_LIMITS)
def test_without_one_of_the_rules_of_limits_someone_waits_for_ever(name: str) -> None:
    """Or too many run."""
    rules, scene = WRONG_LIMITS[name]
    assert explore(permits.Permits(permits.Rules(), scene)).wrong is None
    found = explore(permits.Permits(rules, scene))
    assert found.wrong is not None
    assert found.trace


RATES: Final = (
    rates.Scene(2),
    rates.Scene(3, direct=2, sweeps=False),
    rates.Scene(2, twice=1),
    rates.Scene(2, lost=1),
    rates.Scene(2, deaths=1),
    rates.Scene(2, direct=1, deaths=1),
    rates.Scene(1, deaths=1, lost=1),
)
CALM: Final = rates.Scene(2, sweeps=False)


@pytest.mark.parametrize("scene", [*RATES, CALM], ids=str)
def test_no_two_start_in_one_place_of_a_rate_and_everyone_is_called(scene: rates.Scene) -> None:
    """Rule F.7. Where no one dies and no message is lost, without any sweep."""
    assert (found := explore(rates.Rates(rates.Rules(), scene))).wrong is None, found


WRONG_RATES: Final = {
    "a place is read, then written": (rates.Rules(adds=False), RATES[1]),
    "who joins looks at the mark first": (rates.Rules(puts_first=False), CALM),
    "who removes the mark does not look who joined": (rates.Rules(looks_again=False), CALM),
    "the alarm goes with the mark": (rates.Rules(keeps_alarm=False), RATES[6]),
    "calls do not see each other": (rates.Rules(seen=False), RATES[2]),
}


@pytest.mark.parametrize("name", WRONG_RATES)
def test_without_one_of_the_rules_of_rates_someone_waits_for_ever(name: str) -> None:
    """Or two start in one place."""
    rules, scene = WRONG_RATES[name]
    found = explore(rates.Rates(rules, scene))
    assert found.wrong is not None
    assert found.trace
