"""What a soak came to, for a reader and for a program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.soaking.reading import Findings

SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a soak.

    Attributes:
        engine, seed, instances: as asked for.
        started: instances that are there.
        kinds: how many instances were of which kind.
        calls: calls made.
        kills: workers killed.
        met: instances that were open at a kill.
        oldest_ms: how long the most overdue instance had been waiting when a sweep found it, in milliseconds.
        schedules_left: schedules that nobody needs any more and that will still fire.
        seconds: from the first call to the last instance's end.
        counts: what the queue and the workers counted.
        findings: what the audit found.
    """

    engine: str
    seed: int
    instances: int
    started: int
    kinds: Mapping[str, int]
    calls: int
    kills: int
    met: int
    oldest_ms: int
    schedules_left: int
    seconds: float
    counts: Mapping[str, int]
    findings: Findings

    @property
    def good(self) -> bool:
        """Whether nothing was lost, nothing doubled and nothing broken."""
        return self.findings.good and self.started == self.instances

    @property
    def ended(self) -> int:
        """Generations that have ended."""
        return sum(number for status, number in self.findings.ended.items() if status != "open")

    def json(self) -> dict[str, Any]:
        """For a program."""
        found = self.findings
        return {
            "engine": self.engine,
            "seed": self.seed,
            "instances": self.instances,
            "started": self.started,
            "finished": dict(found.ended),
            "lost": len(found.lost),
            "duplicated_effects": len(found.doubled),
            "broken": len(found.broken),
            "conflicts": self.counts.get("conflicts", 0),
            "retries": found.counts["retries"],
            "kills": self.kills,
            "met_a_kill": self.met,
            "oldest_wakeup_seconds": self.oldest_ms / 1000,
            "latest_deadline_seconds": found.late_ms / 1000,
            "schedules_left": self.schedules_left,
            "seconds": round(self.seconds, 2),
            "instances_per_second": round(self.ended / self.seconds, 2),
            "steps_per_second": round(found.counts["steps"] / self.seconds, 2),
            "calls": self.calls,
            "kinds": dict(self.kinds),
            "counts": {**self.counts, **found.counts},
            "findings": {"lost": found.lost, "doubled": found.doubled, "broken": found.broken},
        }

    def text(self) -> str:
        """For a reader."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        found, counts = self.findings, self.counts
        inside = found.counts
        ended = ", ".join(f"{number} {status}" for status, number in sorted(found.ended.items()))
        commits, conflicts = counts.get("commits", 0), counts.get("conflicts", 0)
        per_commit = counts.get("commit_us", 0) / max(commits + conflicts, 1) / 1000
        yield _line("engine", f"{self.engine}, seed {self.seed}")
        yield _line(
            "instances", f"{self.started} started of {self.instances}: {_listed(dict(sorted(self.kinds.items())))}"
        )
        yield _line("finished", f"{ended} (generations)")
        yield _line("lost", str(len(found.lost)))
        yield _line("duplicated effects", f"{len(found.doubled)}, of {inside['effects']} counted")
        yield _line("other invariants broken", f"{len(found.broken)}, in {inside['log entries']} log entries")
        yield _line("calls", f"{self.calls}, some of them twice, early or while a worker died")
        yield _line(
            "kills",
            f"{self.kills} workers, with {self.met} instances open at one; "
            f"{inside['take-overs']} instances taken over from the dead, "
            f"{inside['interrupted attempts']} attempts spent",
        )
        yield _line("conflicts", f"{conflicts} of {commits + conflicts} commits; {per_commit:.1f} ms a commit")
        yield _line(
            "retries", f"{inside['retries']}; {inside['compensations']} compensations, {inside['redrives']} redrives"
        )
        yield _line(
            "messages", f"{counts.get('delivered twice', 0)} delivered twice, {counts.get('came back', 0)} came back"
        )
        yield _line(
            "schedules",
            f"{counts.get('schedules', 0)} made, {counts.get('schedules that never fire', 0)} that "
            f"never fire, {self.schedules_left} left behind",
        )
        yield _line("oldest wake-up", f"{self.oldest_ms / 1000:.1f} s overdue, in {counts.get('sweeps', 0)} sweeps")
        yield _line("latest deadline", f"{found.late_ms / 1000:.1f} s late")
        yield _line(
            "rate",
            f"{self.ended / self.seconds:.1f} instances/s, {inside['steps'] / self.seconds:.1f} steps/s "
            f"over {self.seconds:.1f} s",
        )
        for kind, problems in (("LOST", found.lost), ("DOUBLED", found.doubled), ("BROKEN", found.broken)):
            yield from (f"{kind}: {problem}" for problem in problems[:SHOWN])
            if len(problems) > SHOWN:
                yield f"{kind}: and {len(problems) - SHOWN} more"


def _line(what: str, value: str) -> str:
    return f"{what:<26}{value}"


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in numbers.items())
