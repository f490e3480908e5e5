// What ran and waited when, read from an instance's history.

import { ms } from "./format";
import type { Entry } from "./types";

export type Kind = "run" | "wait" | "backoff" | "between" | "undo" | "paused" | "rounds";

export interface Span {
  step: string;
  kind: Kind;
  from: number;
  /** `undefined` while it goes on. */
  to: number | undefined;
  attempt: number;
  outcome: string;
  failed: boolean;
}

export interface Story {
  spans: Span[];
  taken: Map<string, string[]>;
  /** The steps, in the order in which something first happened to them. */
  order: string[];
}

/** The row of what concerns the whole instance. */
export const WHOLE = "";

export function tell(entries: Entry[]): Story {
  const spans: Span[] = [];
  const taken = new Map<string, string[]>();
  const order = new Set<string>();
  const open = new Map<string, Span>();
  const begin = (step: string, kind: Kind, from: number, attempt: number) => {
    if (step) order.add(step);
    const span: Span = { step, kind, from, to: undefined, attempt, outcome: "", failed: false };
    open.set(step, span);
    spans.push(span);
  };
  const end = (step: string, at: number, outcome: string, failed = false) => {
    const span = open.get(step);
    if (!span) return;
    open.delete(step);
    span.to = Math.max(at, span.from);
    span.outcome = outcome;
    span.failed = failed;
  };
  const retries = new Map<string, number>();
  let undoing = false;
  let handler = "";
  for (const entry of entries) {
    const at = ms(entry.at);
    for (const event of entry.events) {
      const step = event.step ?? "";
      const attempt = event.attempt ?? 1;
      // What ran within this very commit was never named as started.
      const ran = (kind: Kind) => {
        if (!open.has(step)) begin(step, kind, event.started_at ? ms(event.started_at) : at, attempt);
        else if (open.get(step)?.kind === "run" && event.started_at) {
          const span = open.get(step) as Span;
          span.from = Math.max(span.from, ms(event.started_at));
          span.attempt = attempt;
        }
      };
      switch (event.type) {
        case "StepsStarted":
          for (const one of event.steps ?? []) {
            const before = open.get(one);
            // A commit names the next attempt already, where its time is so near that the owner waits for it.
            const pauses = before?.kind === "backoff" || before?.kind === "between";
            const starts = pauses ? Math.max(at, retries.get(one) ?? at) : at;
            if (before) end(one, starts, pauses ? "" : "interrupted", !pauses);
            begin(one, undoing && one !== handler ? "undo" : "run", starts, 1);
          }
          break;
        case "StepCompleted":
          taken.set(step, event.taken ?? []);
          ran("run");
          if (event.failed) end(step, at, event.failed.message, true);
          else end(step, event.ended_at ? ms(event.ended_at) : at, event.event ?? "done");
          break;
        case "RoundEnded":
          ran("run");
          end(step, at, `round ${event.round ?? 1}`);
          if (event.next_at && ms(event.next_at) > at) {
            begin(step, "between", at, 1);
            retries.set(step, ms(event.next_at));
          }
          break;
        case "ChildStarted":
        case "StepWaiting":
          ran("run");
          end(step, at, "waits");
          begin(step, "wait", at, attempt);
          break;
        case "OnFailureCompleted":
          ran("run");
          end(step, at, event.event ?? "done");
          break;
        case "OnFailureFailed":
        case "StepFailed":
          ran("run");
          end(step, at, event.error?.message ?? "failed", true);
          if (event.retry_at) {
            begin(step, "backoff", at, attempt);
            retries.set(step, ms(event.retry_at));
          }
          break;
        case "StepCompensated":
          ran("undo");
          end(step, at, "undone");
          break;
        case "CompensationFailed":
          ran("undo");
          end(step, at, event.error?.message ?? "failed", true);
          if (event.retry_at) {
            begin(step, "backoff", at, attempt);
            retries.set(step, ms(event.retry_at));
          }
          break;
        case "UndoRequested":
          undoing = true;
          break;
        case "ChildUndoing":
          begin(step, "undo", at, 1);
          break;
        case "CompensationStarted":
          undoing = true;
          handler = String(event["then"] ?? "");
          for (const one of [...open.keys()]) if (one !== WHOLE) end(one, at, "ended");
          break;
        case "Paused":
          if (!open.has(WHOLE)) begin(WHOLE, "paused", at, 1);
          break;
        case "Unpaused":
          end(WHOLE, at, "unpaused");
          break;
        case "Redriven":
          undoing = event["status"] === "compensating";
          break;
        case "InstanceFinished":
          for (const one of [...open.keys()]) end(one, at, String(event["status"] ?? "ended"));
          break;
      }
    }
  }
  return { spans: collapse(spans), taken, order: [...order] };
}

/** So many rounds of a step are drawn one by one, the newest; those before them are one stretch. */
const DRAWN = 12;

function collapse(spans: Span[]): Span[] {
  const rounds = new Map<string, Span[]>();
  for (const span of spans) {
    if (!span.failed && (span.kind === "between" || /^round \d+$/.test(span.outcome))) {
      rounds.set(span.step, [...(rounds.get(span.step) ?? []), span]);
    }
  }
  const gone = new Set<Span>();
  const kept: Span[] = [];
  for (const [step, found] of rounds) {
    const ended = found.filter((span) => span.kind !== "between");
    const last = ended[ended.length - DRAWN - 1];
    if (!last) continue;
    const old = found.filter((span) => span.from <= last.from);
    for (const span of old) gone.add(span);
    const first = old[0] as Span;
    kept.push({ step, kind: "rounds", from: first.from, to: last.to, attempt: 1, outcome: `${first.outcome} to ${last.outcome.slice(6)}`, failed: false });
  }
  return [...kept, ...spans.filter((span) => !gone.has(span))];
}

/**
 * Where times are drawn, from 0 to 1. Fitted, a stretch of a millisecond and one of two days can both be seen; with
 * `truly`, lengths are as long as they lasted.
 */
export function scale(spans: Span[], now: number, truly: boolean): (at: number) => number {
  const marks = [...new Set(spans.flatMap((span) => [span.from, span.to ?? now]))].sort((a, b) => a - b);
  const first = marks[0] ?? 0;
  const last = marks.at(-1) ?? first + 1;
  if (truly || marks.length < 2) return (at) => (last === first ? 0 : (at - first) / (last - first));
  const places = [0];
  for (let index = 1; index < marks.length; index++) {
    const passed = (marks[index] as number) - (marks[index - 1] as number);
    places.push((places[index - 1] as number) + Math.log10(1 + passed / 5) + 0.150);
  }
  const total = places.at(-1) as number;
  return (at) => {
    let low = 0;
    let high = marks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((marks[middle] as number) <= at) low = middle;
      else high = middle - 1;
    }
    const from = marks[low] as number;
    const to = marks[low + 1];
    const place = places[low] as number;
    if (to === undefined) return place / total;
    return (place + (((at - from) / (to - from)) * ((places[low + 1] as number) - place))) / total;
  };
}
