// What ran and waited when, read from an instance's history.

import { ms } from "./format";
import type { Entry, LogEvent } from "./types";

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

/** What an event is about: a step, or an item of a map, as `StepsStarted` names it. */
export const aboutOf = (event: LogEvent) => (event.item === undefined ? event.step ?? "" : `${event.step}[${event.item}]`);

/** The step of a row of the timeline. */
export const stepOf = (row: string) => row.replace(/\[.*$/s, "");

/** `StepsStarted` names items by keys that are percent-encoded. */
function decoded(name: string): string {
  try {
    return name.includes("[") ? decodeURIComponent(name) : name;
  } catch {
    return name;
  }
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
  const answered = new Set<string>(); // steps whose child has ended: what they begin then is no restart
  let undoing = false;
  let handler = "";
  for (const entry of entries) {
    const at = ms(entry.at);
    for (const event of entry.events) {
      const step = aboutOf(event);
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
          for (const one of (event.steps ?? []).map(decoded)) {
            const before = open.get(one);
            // A commit names the next attempt already, where its time is so near that the owner waits for it.
            const pauses = before?.kind === "backoff" || before?.kind === "between";
            const starts = pauses ? Math.max(at, retries.get(one) ?? at) : at;
            const asked = answered.delete(one);
            if (before) end(one, starts, asked ? "its child has ended" : pauses ? "" : "interrupted", !pauses && !asked);
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
        case "ChildEnded":
          answered.add(step);
          break;
        case "ChildStarted":
        case "StepWaiting":
          ran("run");
          end(step, at, "waits");
          begin(step, "wait", at, attempt);
          break;
        case "ItemWaiting":
          ran("run");
          end(step, at, "waits");
          begin(step, "wait", at, attempt);
          break;
        case "ItemCompleted":
        case "OnFailureCompleted":
          ran("run");
          end(step, at, event.event ?? "done");
          break;
        case "OnFailureFailed":
        case "ItemFailed":
        case "StepFailed":
          ran("run");
          end(step, at, event.error?.message ?? "failed", true);
          if (event.retry_at) {
            begin(step, "backoff", at, attempt);
            retries.set(step, ms(event.retry_at));
          }
          break;
        case "ItemUndone":
        case "StepCompensated":
          ran("undo");
          end(step, at, "undone");
          break;
        case "ItemUndoFailed":
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
  const isRound = (span: Span) => /^round \d+$/.test(span.outcome);
  const gone = new Set<Span>();
  const kept: Span[] = [];
  for (const step of new Set(spans.filter(isRound).map((span) => span.step))) {
    const found = spans.filter((span) => span.step === step && !span.failed && span.to !== undefined);
    const ended = found.filter(isRound);
    const last = ended[ended.length - DRAWN - 1];
    const first = ended[0];
    if (!last || !first) continue;
    const old = found.slice(0, found.indexOf(last) + 1);
    for (const span of old) gone.add(span);
    const from = Math.min(...old.map((span) => span.from));
    kept.push({ step, kind: "rounds", from, to: last.to, attempt: 1, outcome: `${first.outcome} to ${last.outcome.slice(6)}`, failed: false });
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
