// Everything that became true of an instance, in order, with what it carried.

import { useEffect, useMemo, useState } from "preact/hooks";
import { query, read } from "./api";
import { duration, exact, ms, plural, timeOfDay } from "./format";
import type { Log } from "./log";
import { Data, ErrorText, Large } from "./parts";
import { aboutOf } from "./spans";
import type { Entry, Failure, Instance, Json, LogEvent, Page } from "./types";
import { VirtualList } from "./virtual";

interface Line {
  entry: Entry;
  event: LogEvent;
  index: number;
  /** Whether it is the first of its entry that is shown. */
  first: boolean;
  /** The last of the entries that are one line; `entry` is the first. */
  last?: Entry;
}

const BOOKKEEPING = new Set(["Claimed", "StepsStarted", "OutputStarted", "Suspended", "HandedOver"]);
const BAD = new Set(["StepFailed", "CompensationFailed", "OnFailureFailed", "Parked", "TimedOut", "OutputFailed", "LimitsFailed", "ItemFailed", "ItemUndoFailed"]);
const KEPT_BACK = new Set(["type", "large", "error", "failed", "so_far"]);

interface Props {
  instance: Instance;
  log: Log;
  step: string | undefined;
  clearStep: () => void;
  fork: (at: number) => void;
}

export function HistoryView({ instance, log, step, clearStep, fork }: Props) {
  const [all, setAll] = useState(false);
  const [only, setOnly] = useState(false);
  const [chosen, setChosen] = useState<string>();
  const lines = useMemo(() => {
    const found: Line[] = [];
    const failures = new Failures();
    for (const { entry, last, events } of together(log.entries, all)) {
      let first = true;
      for (const event of events) failures.note(event);
      for (const { event, index } of folded(events)) {
        if (event.type === "PartReported") event["so_far"] = failures.said(event.step ?? "");
        if (!all && BOOKKEEPING.has(event.type)) continue;
        const here = first;
        first = false;
        if (only && step && event.step !== step && !event.steps?.some((one) => one === step || one.startsWith(`${step}[`))) continue;
        found.push({ entry, event, index, first: here, ...(last ? { last } : {}) });
      }
    }
    return found;
  }, [log.entries, all, only, step]);
  const name = (line: Line) => `${line.entry.sequence}.${line.index}`;
  const at = lines.findIndex((line) => name(line) === chosen);
  const line = lines[at];
  const began = ms(log.entries[0]?.at);
  useEffect(() => {
    if (chosen === undefined) return;
    document.querySelector<HTMLElement>(`[data-line="${chosen}"]`)?.focus({ preventScroll: true });
  }, [chosen]);
  const move = (event: KeyboardEvent) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -lines.length, End: lines.length }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const next = lines[Math.max(0, Math.min(lines.length - 1, at + by))];
    if (next) setChosen(name(next));
  };
  return (
    <div class="history">
      <div class="tools">
        <label class="check">
          <input type="checkbox" checked={all} onChange={(event) => setAll(event.currentTarget.checked)} /> bookkeeping (claims, starts,
          suspensions)
        </label>
        {step && (
          <label class="check">
            <input type="checkbox" checked={only} onChange={(event) => setOnly(event.currentTarget.checked)} /> {`only ${step}`}
          </label>
        )}
        {only && step && (
          <button type="button" class="quiet" onClick={() => (setOnly(false), clearStep())}>
            all steps
          </button>
        )}
        <span role="status" class="note">
          {log.complete ? plural(log.entries.length, "entry") : `${plural(log.entries.length, "entry")}, reading on…`}
        </span>
      </div>
      {log.problem && <p class="wrong" role="alert">{log.problem.message}</p>}
      <div class="columns">
        <div class="lines" role="table" aria-label="History" aria-rowcount={lines.length} onKeyDown={move}>
          <VirtualList
            count={lines.length}
            height={34}
            label="Events"
            show={at}
            row={(index) => {
              const one = lines[index] as Line;
              const key = name(one);
              return (
                <div key={key} role="row" aria-rowindex={index + 1} class={`entry ${tone(one.event)} ${key === chosen ? "selected" : ""}`}>
                  <span role="cell" class="number">
                    {one.first ? one.entry.sequence : ""}
                  </span>
                  <span role="cell" class="at" title={exact(one.entry.at)}>
                    {timeOfDay(one.entry.at)}
                  </span>
                  <span role="cell" class="what">
                    <button
                      type="button"
                      data-line={key}
                      tabIndex={key === chosen || (chosen === undefined && index === 0) ? 0 : -1}
                      aria-expanded={key === chosen}
                      onClick={() => setChosen(key === chosen ? undefined : key)}
                    >
                      {sentence(one.event)}
                    </button>
                  </span>
                </div>
              );
            }}
          />
        </div>
        <aside class="detail" aria-label="Entry" aria-live="polite">
          {line ? (
            <EntryDetail key={chosen} instance={instance} line={line} began={began} fork={fork} />
          ) : (
            <p class="empty">Choose an event to see what it carried.</p>
          )}
        </aside>
      </div>
    </div>
  );
}

function EntryDetail({ instance, line, began, fork }: { instance: Instance; line: Line; began: number; fork: (at: number) => void }) {
  const { entry, event, last } = line;
  const fields = Object.entries(event).filter(([name]) => !KEPT_BACK.has(name));
  const small = fields.filter(([, value]) => typeof value !== "object" || value === null);
  const rest = fields.filter(([, value]) => typeof value === "object" && value !== null);
  const fetchFull = async (name: string): Promise<Json> => {
    const path = query(`instances/${encodeURIComponent(instance.id)}/history`, {
      generation: String(instance.generation),
      limit: "1",
      cursor: entry.sequence > 1 ? String(entry.sequence - 1) : null,
      full: "1",
    });
    const page = await read<Page<Entry>>(path);
    return (page.items[0]?.events[line.index]?.[name] ?? null) as Json;
  };
  return (
    <>
      <h3>{event.type}</h3>
      <p class="note">
        {`${last ? `Entries ${entry.sequence} to ${last.sequence}` : `Entry ${entry.sequence}`}, ${exact(entry.at)}, ${duration(ms(entry.at) - began)} after the start`}
      </p>
      <dl>
        {small.map(([name, value]) => (
          <div key={name}>
            <dt>{label(name)}</dt>
            <dd>{typeof value === "string" && /_(at|until)$/.test(name) ? exact(value) : String(value)}</dd>
          </div>
        ))}
      </dl>
      {event.error && <ErrorText error={event.error as Failure} />}
      {typeof event.failed === "object" && <ErrorText error={event.failed} />}
      {rest.map(([name, value]) =>
        Array.isArray(value) && value.every((one) => typeof one === "string") ? (
          <p key={name} class="strings">
            <span>{label(name)}</span> {value.join(", ")}
          </p>
        ) : (
          <Data key={name} value={value as Json} label={label(name)} />
        ),
      )}
      {Object.entries(event.large ?? {}).map(([name, characters]) => (
        <Large key={name} label={label(name)} characters={characters} fetch={() => fetchFull(name)} />
      ))}
      {instance.steered_at === undefined && (
        <button type="button" onClick={() => fork((last ?? entry).sequence)}>
          {last ? "Fork after these entries…" : "Fork after this entry…"}
        </button>
      )}
    </>
  );
}

const label = (name: string) => name.replaceAll("_", " ");

function tone(event: LogEvent): string {
  if (BAD.has(event.type) || event.failed || event.fail !== undefined || (event.type === "InstanceFinished" && event["status"] === "failed")) return "bad";
  if (event.type === "StepCompleted" || event.type === "ItemCompleted" || event.type === "OnFailureCompleted" || event.type === "InstanceFinished") return "good";
  if (BOOKKEEPING.has(event.type)) return "faint";
  return event.by_source || event.by ? "person" : "";
}

const SOURCES: { [source: string]: string } = { api: " (authorized)", claim: " (claimed)" };

/** Who asked for it, and how that is known. */
function askedBy(event: LogEvent): string {
  if (event.by) return `, by ${event.by}${SOURCES[event.by_source ?? ""] ?? ""}`;
  return event.by_source === "api" ? ", through the API, without authorization" : "";
}

/** Of a child: the way to it from the top of its tree. */
function placeOf(event: LogEvent): string {
  const origin = event["origin"] as { path?: string; root?: string } | undefined;
  return origin?.path ? `, at ${origin.path} of ${origin.root}` : "";
}

/** What a fork was given in place of its source's data. */
function replacedIn(event: LogEvent): string {
  const completed = Array.isArray(event["completed"]) ? (event["completed"] as { step: string; replaced?: unknown }[]) : [];
  const what = completed.filter((one) => one.replaced).map((one) => `results of ${one.step}`);
  if (event["initial_replaced"]) what.unshift("start data");
  return what.length ? `; given: ${what.join(", ")}` : "";
}

/** Events about parts of a map. */
const OF_PARTS = new Set(["PartStarted", "PartReported", "PartEnded", "ChildUndoing"]);

/** So many entries that follow each other and are about nothing but parts are shown one by one. */
const FEW = 3;

/** Entries as they are shown: those that follow each other, and are about nothing but parts of a map, are one. */
function together(entries: Entry[], all: boolean): { entry: Entry; last?: Entry; events: LogEvent[] }[] {
  const found: { entry: Entry; last?: Entry; events: LogEvent[] }[] = [];
  let held: Entry[] = [];
  const rest = () => {
    const [first] = held;
    if (first && held.length > FEW && held.some((entry) => entry.events.some((event) => OF_PARTS.has(event.type)))) {
      // How many run at a time is not what all began with.
      const events = held.flatMap((entry) => entry.events.map(({ share: _, ...event }) => event as LogEvent));
      found.push({ entry: first, last: held[held.length - 1] as Entry, events });
    } else found.push(...held.map((entry) => ({ entry, events: entry.events })));
    held = [];
  };
  for (const entry of entries) {
    if (!all && entry.events.every((event) => BOOKKEEPING.has(event.type) || (OF_PARTS.has(event.type) && event.item === undefined))) held.push(entry);
    else {
      rest();
      found.push({ entry, events: entry.events });
    }
  }
  rest();
  return found;
}

/** The events of an entry, of which those that say the same of several parts of a map are one: a large map has a thousand. */
function folded(events: LogEvent[]): { event: LogEvent; index: number }[] {
  const found: { event: LogEvent; index: number }[] = [];
  const known = new Map<string, LogEvent>();
  const reported = new Set<string>();
  events.forEach((event, index) => {
    if (!OF_PARTS.has(event.type) || event.item !== undefined) {
      found.push({ event, index });
      return;
    }
    const key = JSON.stringify([event.type, event.step, event["status"], event["epoch"], event.round]);
    const one = known.get(key);
    const part = `${key} ${String(event["part"])}`;
    // A part says again and again how many of its items have failed by then.
    const before = event.type === "PartReported" && reported.has(part);
    if (event.type === "PartReported") reported.add(part);
    if (one === undefined) {
      const first: LogEvent = { ...event, parts: 1 };
      known.set(key, first);
      found.push({ event: first, index });
      return;
    }
    if (!before) one["parts"] = Number(one["parts"]) + 1;
    delete one["part"];
    if (event["share"] !== undefined) one["share"] = Number(one["share"] ?? 0) + Number(event["share"]);
    const counts = { ...((one["counts"] as Counts) ?? {}) };
    for (const [name, count] of Object.entries((event["counts"] as Counts) ?? {})) counts[name] = (counts[name] ?? 0) + count;
    if (Object.keys(counts).length) one["counts"] = counts;
    if (event.error && !one.error) one.error = event.error;
  });
  return found;
}

type Counts = { [name: string]: number };

/** The parts of a map of which the same is said. */
const parts = (event: LogEvent) => (Number(event["parts"] ?? 1) > 1 ? `${String(event["parts"])} parts` : "a part");

/** A step and, from the second on, which round of it. */
const withRound = (event: LogEvent) => (event.round ? `${event.step}, round ${event.round},` : `${event.step}`);

/** What has become of a child. */
function became(event: LogEvent): string {
  const words: { [status: string]: string } = {
    completed: "has completed",
    failed: "has failed",
    cancelled: "was cancelled",
    undone: "has undone what it did",
    rejected: "did not start: another instance has its id",
  };
  return words[String(event["status"] ?? "")] ?? "could not be reached";
}

/** The failed items of each map, as its parts report them: of a part, the newest number counts. */
class Failures {
  private totals = new Map<string, number>();
  private failed = new Map<string, Map<string, number>>();

  note(event: LogEvent) {
    const step = event.step ?? "";
    if (event.type === "Redriven") this.failed.clear();
    if (event.type === "MapSpread") {
      this.totals.set(step, Number(event["total"]));
      this.failed.set(step, new Map());
    }
    if (event.type !== "PartReported") return;
    const known = this.failed.get(step) ?? new Map<string, number>();
    this.failed.set(step, known.set(String(event["part"]), Number(event["failed"])));
  }

  /** How many have failed by now, of how many, if that is known. */
  said(step: string): string {
    const failed = [...(this.failed.get(step)?.values() ?? [])].reduce((sum, one) => sum + one, 0);
    const total = this.totals.get(step);
    return total ? `${failed} of ${plural(total, "item")}` : plural(failed, "item");
  }
}

/** What became of some of the items of a map, or of the workflow of one of them. */
function partEnded(event: LogEvent): string {
  if (event.item !== undefined) return `the workflow of item ${String(event["item"] ?? "")} of ${event.step} ${became(event)}`;
  if (event["status"] === "undone") return `${event.step} has undone the items of ${parts(event)}`;
  const counts = Object.entries((event["counts"] as { [name: string]: number }) ?? {}).map(([name, count]) => `${count} ${name}`);
  return `${event.step}: ${parts(event)} of its items ended: ${counts.join(", ") || "none ran"}`;
}

/** So many steps are named in a line. */
const MANY = 6;

/** How many items there are; where they are too large for the page, that is not known. */
const counted = (items: unknown) => (Array.isArray(items) ? plural(items.length, "item") : "its items");

/** An event in a few words. */
function sentence(event: LogEvent): string {
  const by = askedBy(event);
  const named = (event.steps ?? []) as string[];
  const many = named.length > MANY ? `${named.slice(0, MANY).join(", ")} and ${named.length - MANY} more` : named.join(", ");
  const about = aboutOf(event);
  const attempt = (event.attempt ?? 1) > 1 ? ` (attempt ${event.attempt})` : "";
  const text = (name: string) => (event[name] ? String(event[name]) : "");
  const reason = text("reason") ? `: ${text("reason")}` : "";
  switch (event.type) {
    case "InstanceStarted":
      return `started ${text("workflow")} v${text("version")}${placeOf(event)}${by}`;
    case "Forked":
      return `forked from ${text("instance_id")}, generation ${text("generation")}, entry ${text("sequence")}${by}${replacedIn(event)}`;
    case "Claimed":
      return "an invocation took it";
    case "StepsStarted":
      return `${many} started`;
    case "StepsIsolated":
      return `the process of ${many} died; each runs alone from now on`;
    case "EventReceived":
      return `${event.event} received for ${about}${by}`;
    case "ChoiceStarted":
      return `the Choice of ${event.step} is called`;
    case "TimerSet":
      return `${about} was given a deadline${by}`;
    case "HeartbeatReceived":
      return `${about}: heartbeat${by}`;
    case "StepCompleted":
      if (event.event === "exhausted" && event["rounds"]) return `${event.step} is exhausted after ${plural(Number(event["rounds"]), "round")}`;
      if (event.failed) return `${event.step} failed${attempt}, and ${event.event} is routed: ${event.failed.message}`;
      return `${event.step} completed: ${event.event}${attempt}${event.fail === undefined ? "" : `, which leads to FAIL${event.fail ? `: ${event.fail}` : ""}`}`;
    case "RoundEnded":
      return `round ${event.round} of ${event.step} ended${event.event ? ` with ${event.event}` : ""}${attempt}${event.next_at && ms(event.next_at) > ms(event.started_at) + 1000 ? `; the next begins ${exact(event.next_at)}` : ""}`;
    case "EventsDropped":
      return `${event.step} takes no more events, dropped: ${((event["events"] as string[]) ?? []).join(", ")}`;
    case "ChildStarted":
      return `${event.step} ${event["detached"] ? "starts" : "waits for"} the child ${text("child")}`;
    case "ChildrenStopping":
      return `the children of ${many} are cancelled`;
    case "ChildEnded":
      return `the child of ${withRound(event)} ${became(event)}`;
    case "ChildUndoing":
      return event["part"] !== undefined || Number(event["parts"] ?? 1) > 1 ? `${event.step} undoes the items of ${parts(event)}` : `the child of ${event.item === undefined ? withRound(event) : about} undoes what it did`;
    case "UndoRequested":
      return `its parent has it undo ${many || "nothing"}`;
    case "MapBegun":
      return `${event.step} runs for ${counted(event["over"])}`;
    case "MapSpread":
      return `${event.step} runs for ${plural(Number(event["total"]), "item")}`;
    case "PartStarted":
      return event["child"] ? `item ${text("item")} of ${event.step} goes on with the child ${text("child")}` : `${event.step} begins ${parts(event)} of its items${text("share") ? `, at most ${text("share")} items at a time` : ""}`;
    case "PermitsTaken":
      return event.step ? `${event.step} has its permits` : "the instance has the permits of its workflow";
    case "StepQueued":
      return event.step ? `${event.step} stands in line for its permits` : "the instance stands in line for the permits of its workflow";
    case "LimitsFailed":
      return `the limits of the workflow could not be read: ${event.error?.message ?? ""}`;
    case "StartReserved":
      return `${about} starts ${event.start_at ? exact(event.start_at) : ""}, as its rates allow`;
    case "StartQueued":
      return `${about} stands in line for a time to start at`;
    case "PartReported":
      return `${event.step}: ${text("so_far")} failed so far`;
    case "PartResumed":
      return `items that had not completed run again, at most ${text("share")} at a time`;
    case "PartEnded":
      return partEnded(event);
    case "ItemCompleted":
      return `${about} completed: ${event.event}${attempt}`;
    case "ItemUndone":
      return `${about} undone${attempt}`;
    case "ItemUndoFailed":
      return `${about} could not be undone${attempt}: ${event.error?.message ?? ""}`;
    case "ItemWaiting":
    case "StepWaiting":
      return `${about} waits${event.due_at ? ` until ${exact(event.due_at)}` : ""}`;
    case "ItemFailed":
    case "StepFailed":
      return `${about} failed${attempt}: ${event.error?.message ?? ""}`;
    case "StepsSkipped":
      return `${many} skipped`;
    case "CompensationStarted":
      return `${many ? `undoing ${many}` : "nothing to undo"}${text("then") ? `; then ${text("then")} runs, on failure` : ""}`;
    case "OnFailureCompleted":
      return `${event.step} completed: ${event.event}${attempt}`;
    case "OnFailureFailed":
      return `${event.step} failed${attempt}: ${event.error?.message ?? ""}`;
    case "StepCompensated":
      return `${event.step} undone${attempt}`;
    case "CompensationFailed":
      return `${event.step} could not be undone${attempt}: ${event.error?.message ?? ""}`;
    case "Suspended":
      return "suspended";
    case "HandedOver":
      return "handed over to another invocation";
    case "Parked":
      return `parked${reason}`;
    case "CancelRequested":
      return `cancel requested${reason}${by}`;
    case "Paused":
      return `paused${reason}${by}`;
    case "Unpaused":
      return `unpaused${by}`;
    case "Redriven":
      return `redriven${by}`;
    case "InstanceFinished":
      return `ended: ${text("status")}${text("output_of") ? `, with the results of ${text("output_of")} as its output` : ""}`;
    case "OutputStarted":
      return "the output is made";
    case "TimedOut":
      return event.error?.message ?? "its time is up";
    case "OutputFailed":
      return `the output could not be made: ${event.error?.message ?? ""}`;
    default:
      return event.type;
  }
}
