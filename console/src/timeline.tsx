// What ran and waited when: a line a step, a bar for each attempt, wait and pause.

import { useMemo, useState } from "preact/hooks";
import { duration, plural, timeOfDay } from "./format";
import { instanceHash } from "./list";
import { scale, type Span, stepOf, type Story, WHOLE } from "./spans";

const WORDS: { [kind: string]: string } = {
  run: "ran",
  wait: "waited",
  backoff: "waited for its next attempt",
  between: "was between two rounds",
  rounds: "went through",
  undo: "was undone",
  paused: "was paused",
};
const MOST = 2_000;
/** A map of more items has a line for those alone that failed, and of these not for more. */
const ITEMS = 12;

interface Props {
  story: Story;
  now: number;
  selected: string | undefined;
  select: (step: string) => void;
  /** The instance that a step started. */
  childOf: (step: string) => string | undefined;
}

export function TimelineView({ story, now, selected, select, childOf }: Props) {
  const [truly, setTruly] = useState(false);
  const [drawn, hidden] = useMemo(() => fewItems(story), [story]);
  const spans = useMemo(() => drawn.slice(-MOST), [drawn]);
  const place = useMemo(() => scale(spans, now, truly), [spans, now, truly]);
  const rows: [string, Span[]][] = [WHOLE, ...story.order]
    .map((step) => [step, spans.filter((span) => span.step === step)] as [string, Span[]])
    .filter(([, found]) => found.length);
  if (!rows.length) return <p class="empty">Nothing has run yet.</p>;
  const first = Math.min(...spans.map((span) => span.from));
  const last = Math.max(...spans.map((span) => span.to ?? now));
  return (
    <div class="timeline">
      <div class="tools">
        <ul class="legend" aria-hidden="true">
          {["run", "wait", "backoff", "undo"].map((kind) => (
            <li key={kind}>
              <span class={`bar ${kind}`} /> {{ run: "ran", wait: "waited", backoff: "before a retry", undo: "undone" }[kind]}
            </li>
          ))}
          <li>
            <span class="bar failed" /> failed
          </li>
        </ul>
        <label class="check">
          <input type="checkbox" checked={truly} onChange={(event) => setTruly(event.currentTarget.checked)} /> true to scale
        </label>
      </div>
      {drawn.length > MOST && <p class="note">{`The newest ${MOST} of ${drawn.length} stretches.`}</p>}
      {[...hidden].map(([step, number]) => (
        <p key={step} class="note">{`${plural(number, "item")} of ${step} ${number === 1 ? "is" : "are"} not drawn: choose the step to see them.`}</p>
      ))}
      <ol>
        {rows.map(([step, found]) => (
          <li key={step} class={step && stepOf(step) === selected ? "selected" : ""}>
            {step === WHOLE ? (
              <span class="name">instance</span>
            ) : (
              <button type="button" class="name" onClick={() => select(stepOf(step))} title={step}>
                {step}
              </button>
            )}
            <span class="track">
              {found.map((span) => {
                const from = place(span.from);
                const width = Math.max(place(span.to ?? now) - from, 0);
                const lasted = duration((span.to ?? now) - span.from);
                const text = said(span, lasted);
                return (
                  <span
                    key={`${span.kind} ${span.from} ${span.attempt}`}
                    class={`bar ${span.failed ? "failed" : span.kind} ${span.to === undefined ? "open" : ""}`}
                    style={{ left: `min(100% - 4px, ${from * 100}%)`, width: `max(4px, ${width * 100}%)` }}
                    title={text}
                    role="img"
                    aria-label={text}
                  >
                    {width > 0.070 && <span aria-hidden="true">{lasted}</span>}
                  </span>
                );
              })}
            </span>
            <span class="sum">
              {childOf(step) && (
              <a class="child" href={instanceHash(childOf(step) ?? "")} aria-label={`The child of ${step}`} title={childOf(step)}>
                ↳
              </a>
            )}{" "}
              {duration(found.reduce((all, span) => all + (span.to ?? now) - span.from, 0))}
            </span>
          </li>
        ))}
      </ol>
      <p class="axis" aria-hidden="true">
        <span>{timeOfDay(new Date(first).toISOString())}</span>
        <span>{`${duration(last - first)} in all${truly ? "" : ", long stretches drawn shorter"}`}</span>
        <span>{timeOfDay(new Date(last).toISOString())}</span>
      </p>
    </div>
  );
}

/** The stretches that are drawn, and how many items of which map are not. */
function fewItems(story: Story): [Span[], Map<string, number>] {
  const failed = new Set(story.spans.filter((span) => span.failed).map((span) => span.step));
  const hidden = new Map<string, number>();
  const left = new Set<string>();
  for (const map of new Set(story.order.filter((row) => row.includes("[")).map(stepOf))) {
    const items = story.order.filter((row) => row.startsWith(`${map}[`));
    if (items.length <= ITEMS) continue;
    const shown = items.filter((row) => failed.has(row)).slice(0, ITEMS);
    for (const row of items) if (!shown.includes(row)) left.add(row);
    hidden.set(map, items.length - shown.length);
  }
  return [hidden.size ? story.spans.filter((span) => !left.has(span.step)) : story.spans, hidden];
}

function said(span: Span, lasted: string): string {
  const what = WORDS[span.kind] ?? span.kind;
  const attempt = span.kind === "run" && span.attempt > 1 ? ` (attempt ${span.attempt})` : "";
  const end = span.to === undefined ? ", still" : span.outcome && span.kind !== "backoff" && span.kind !== "between" ? `: ${span.outcome.slice(0, 200)}` : "";
  return `${span.step || "The instance"} ${what} ${lasted}${attempt} from ${timeOfDay(new Date(span.from).toISOString())}${end}`;
}
