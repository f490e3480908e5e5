// An instance's workflow as a drawing, with the state of every step.

import { useMemo } from "preact/hooks";
import { plural, until } from "./format";
import { useWidth } from "./hooks";
import { draw, END, ENDS, FAIL, labelOf, short } from "./layout";
import { Icon, words } from "./parts";
import { CLOSED, type Instance, type StepView, type VersionInfo } from "./types";

interface Props {
  version: VersionInfo;
  instance: Instance;
  /** The steps that a completed one led to, where history has told. */
  taken: Map<string, string[]>;
  selected: string | undefined;
  select: (step: string) => void;
  now: number;
}

const WIDE = 760;
// Smaller than that, across or down, it is scrolled instead.
const SMALLEST = { across: 0.800, down: 0.620 };

export function GraphView({ version, instance, taken, selected, select, now }: Props) {
  const [attach, width] = useWidth<HTMLDivElement>();
  const wide = width >= WIDE;
  const drawing = useMemo(() => {
    const across = draw(version, false);
    // Side by side where it can be read so, else from top to bottom.
    return wide && across.width * SMALLEST.across <= width ? across : draw(version, true);
  }, [version, wide, width]);
  const scale = width ? Math.max(wide ? SMALLEST.across : SMALLEST.down, Math.min(1, width / drawing.width)) : 1;
  const steps = instance.steps ?? {};
  return (
    <div class="graph" ref={attach}>
      <svg
        viewBox={`0 0 ${drawing.width} ${drawing.height}`}
        width={drawing.width * scale}
        height={drawing.height * scale}
        role="group"
        aria-label={`Steps of ${instance.workflow}`}
      >
        <defs>
          {["plain", "taken", "dead"].map((kind) => (
            <marker key={kind} id={`arrow-${kind}`} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
              <path d="M0,0.500L8,4L0,7.500z" class={`arrow ${kind}`} />
            </marker>
          ))}
        </defs>
        {drawing.lines.map((line) => {
          const kind = kindOf(steps, taken, line, CLOSED.has(instance.status));
          return (
            <g key={`${line.from} ${line.to}`} class={`line ${kind}`}>
              <path d={line.path} marker-end={`url(#arrow-${kind})`} />
              {labelOf(line.events) && (
                <text x={line.label.x} y={line.label.y + 4} text-anchor="middle">
                  {labelOf(line.events)}
                </text>
              )}
            </g>
          );
        })}
        {drawing.boxes.map((box) => {
          if (box.key in ENDS) {
            const reached = box.key === END ? instance.status === "completed" : Object.values(steps).some((step) => step.fail !== undefined);
            return (
              <g key={box.key} class={`end ${reached ? `reached ${ENDS[box.key]}` : ""}`}>
                <rect x={box.x - box.width / 2} y={box.y - box.height / 2} width={box.width} height={box.height} rx={18} />
                <text x={box.x} y={box.y + 4} text-anchor="middle">
                  {ENDS[box.key]}
                </text>
              </g>
            );
          }
          const step = steps[box.key];
          const most = version.steps.find((one) => one.key === box.key)?.rounds?.at_most;
          const child = version.steps.find((one) => one.key === box.key)?.child?.workflow;
          const map = version.steps.find((one) => one.key === box.key)?.map;
          const status = step?.status ?? "pending";
          const detail = step || box.key !== version.on_failure ? detailOf(step, instance, now) : "on failure";
          const left = box.x - box.width / 2;
          const due = step?.status === "waiting" && step.deadline ? `due ${until(step.deadline, now)}` : detail;
          const shown = short(due, Math.floor((box.width - 42) / 6.500));
          return (
            <g
              key={box.key}
              class={`box is-${status} ${selected === box.key ? "selected" : ""}`}
              role="button"
              tabindex={0} // in SVG, an attribute's case counts
              aria-pressed={selected === box.key}
              aria-label={`${box.key}${most ? `, up to ${plural(most, "round")}` : ""}${child ? `, the workflow ${child}` : ""}${map ? ", for each of its items" : ""} ${shown === detail ? detail : `${shown}, ${detail}`}`}
              data-step={box.key}
              onClick={() => select(box.key)}
              onKeyDown={(event) => {
                if (event.key !== "Enter" && event.key !== " ") return;
                event.preventDefault();
                select(box.key);
              }}
            >
              {map && <rect class="behind" x={left + 5} y={box.y - box.height / 2 + 5} width={box.width} height={box.height} rx={9} />}
              <rect x={left} y={box.y - box.height / 2} width={box.width} height={box.height} rx={9} />
              {child && <rect class="frame" x={left + 3} y={box.y - box.height / 2 + 3} width={box.width - 6} height={box.height - 6} rx={6} />}
              {most && <path class="again" d={loopOf(left + box.width, box.y - box.height / 2)} marker-end="url(#arrow-plain)" />}
              <Icon status={status} x={left + 12} y={box.y - 8} />
              <text class="key" x={left + 36} y={box.y - 3}>
                {short(box.key)}
              </text>
              {" "}
              <text class="detail" x={left + 36} y={box.y + 14}>
                {shown}
              </text>
            </g>
          );
        })}
      </svg>
    </div>
  );
}

/** The way from a step to itself, over its upper right corner. */
const loopOf = (right: number, top: number) => `M${right - 42},${top} c0,-15 24,-15 24,-2`;

/** A step's state in a few words. */
export function detailOf(step: StepView | undefined, instance: Instance, now: number): string {
  if (!step) return CLOSED_WORDS[instance.status] ?? "not yet";
  const again = (step.attempt ?? 0) > 1 ? ` (try ${step.attempt})` : "";
  if (step.status === "waiting") return step.deadline ? `waiting, due ${until(step.deadline, now)}` : "waiting";
  if (step.status === "retrying") return step.retry_at ? `again ${until(step.retry_at, now)}` : "retrying";
  if (step.round && step.status !== "completed") {
    const of = `round ${step.round}${step.rounds ? ` of ${step.rounds}` : ""}`;
    if (step.status === "running") return `${of}${again}`;
    if (step.status === "looping") return `${of}${step.retry_at ? `, ${until(step.retry_at, now)}` : ""}`;
  }
  if (step.progress) {
    const { completed = 0, total = 0, failed = 0, waiting = 0, compensated = 0 } = step.progress;
    const wait = !CLOSED.has(instance.status) && waiting && waiting + completed + failed === total ? `, ${waiting} wait` : "";
    const rest = `${failed ? `, ${failed} failed` : ""}${step.status === "mapping" ? wait : ""}`;
    if (step.status !== "compensated") return `${completed} of ${plural(total, "item")}${rest}`;
    return `${compensated} of ${plural(total, "item")} undone`;
  }
  if (step.status === "completed" && step.event && step.event !== "done") return `${step.event}${again}`;
  return `${words(step.status)}${again}`;
}

const CLOSED_WORDS: { [status: string]: string } = {
  completed: "never reached",
  failed: "never reached",
  cancelled: "never reached",
};

function kindOf(
  steps: { [key: string]: StepView },
  taken: Map<string, string[]>,
  line: { from: string; to: string; events: string[] },
  ended: boolean,
): "plain" | "taken" | "dead" {
  const from = steps[line.from];
  if (from?.status === "skipped") return "dead";
  if (!from?.event) return ended ? "dead" : "plain";
  if (!line.events.includes(from.event)) return "dead";
  if (from.fail !== undefined || line.to === FAIL) return from.fail !== undefined && line.to === FAIL ? "taken" : "dead";
  const told = taken.get(line.from);
  const led = line.to === END || (told ? told.includes(line.to) : steps[line.to]?.status !== "skipped");
  return led ? "taken" : "dead";
}
