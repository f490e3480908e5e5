// Schedules: when each is due next on the clocks of its zone, what became of the last occurrence, and what operators do to them.

import { useEffect, useState } from "preact/hooks";
import { Field } from "./actions";
import { change, type Problem } from "./api";
import { Question, shownBy } from "./dialog";
import { ago, exact, until } from "./format";
import { useNow, usePolled } from "./hooks";
import { instanceHash } from "./list";
import { Status, Time } from "./parts";
import type { About, Page, ScheduleInfo } from "./types";

const REFRESH = 5_000;

type Action = "pause" | "unpause" | "trigger" | "delete";

const TITLES: { [action in Action]: string } = { pause: "Pause", unpause: "Unpause", trigger: "Trigger", delete: "Delete" };
const SAYS: { [action in Action]: string } = {
  pause: "None of its occurrences starts until it is unpaused. Those that fall into the pause never do.",
  unpause: "It goes on from now. What fell into the pause is not made up.",
  trigger: "An occurrence starts now, whatever else is open.",
  delete: "The schedule ends. What it has started goes on.",
};
const DONE: { [action in Action]: string } = { pause: "paused", unpause: "unpaused", trigger: "triggered", delete: "deleted" };

/** What can be done to it; what the code declares is not deleted, and what it has removed does not go on. */
function allowed(one: ScheduleInfo): Action[] {
  const removed = one.paused?.owner === "code";
  const pause: Action[] = removed ? [] : [one.paused ? "unpause" : "pause"];
  return [...pause, "trigger", ...(removed || one.declared_by === "operator" ? (["delete"] as Action[]) : [])];
}

export function SchedulesPage({ about, tell }: { about: About; tell: (problem?: Problem) => void }) {
  const { value, problem, refresh } = usePolled<Page<ScheduleInfo>>("schedules", REFRESH);
  const [wanted, setWanted] = useState<{ schedule: string; action: Action }>();
  const [done, setDone] = useState<{ text: string; id?: string | undefined }>({ text: "" });
  const now = useNow(1_000);
  useEffect(() => tell(problem), [problem, tell]);
  useEffect(() => {
    document.title = "Schedules · Hephaestus";
    return () => {
      document.title = "Hephaestus";
    };
  }, []);
  return (
    <main class="instance-page" id="main">
      <h1>Schedules</h1>
      <p class="done" role="status">
        {done.text}
        {done.id && (
          <>
            {" "}
            <a href={instanceHash(done.id)}>{done.id}</a>
          </>
        )}
      </p>
      {!value && <p class="empty">{problem ? "Waiting for an answer…" : "Reading…"}</p>}
      {value && !value.items.length && <p class="empty">No schedules.</p>}
      {value?.items.map((one) => (
        <ScheduleCard key={one.id} schedule={one} now={now} want={(action) => (setDone({ text: "" }), setWanted({ schedule: one.schedule, action }))} />
      ))}
      {wanted && (
        <ScheduleQuestion
          schedule={wanted.schedule}
          action={wanted.action}
          by={about.by}
          close={() => setWanted(undefined)}
          done={(id) => {
            setWanted(undefined);
            setDone({ text: `${wanted.schedule} is ${DONE[wanted.action]}.`, id: wanted.action === "trigger" ? id : undefined });
            refresh();
            setTimeout(refresh, 500);
          }}
        />
      )}
    </main>
  );
}

function ScheduleCard({ schedule, now, want }: { schedule: ScheduleInfo; now: number; want: (action: Action) => void }) {
  const { paused, last, skip } = schedule;
  const next = schedule.next_at ?? [];
  return (
    <section class="panel card schedule" aria-label={`Schedule ${schedule.schedule}`}>
      <div class="head">
        <h2>
          <a href={instanceHash(schedule.id)}>{schedule.schedule}</a>
        </h2>
        <code>{schedule.cron}</code>
        <span>{schedule.timezone}</span>
        {paused && <Status status="paused" />}
        <span class="note">{schedule.declared_by === "operator" ? "created by an operator" : "declared by the code"}</span>
        <span class="actions">
          {allowed(schedule).map((action) => (
            <button key={action} type="button" class={action === "delete" ? "danger" : ""} onClick={() => want(action)}>
              {TITLES[action]}
            </button>
          ))}
        </span>
      </div>
      {paused && <p class="notice">{`Paused${paused.by ? ` by ${paused.by}` : ""} ${ago(paused.at, now)}: ${paused.reason || "no reason given"}`}</p>}
      {next[0] && (
        <p>
          {"next "}
          <time dateTime={next[0]} title={exact(next[0])}>
            {wall(next[0])}
          </time>
          {` ${schedule.timezone} (${until(next[0], now)})`}
          {next.length > 1 && <span class="note">{`, then ${next.slice(1).map(wall).join(", ")}`}</span>}
        </p>
      )}
      {last && (
        <p>
          {"last "}
          <a href={instanceHash(last.id)}>{last.id}</a>{" "}
          <Time at={last.scheduled_for} text={ago(last.scheduled_for, now)} />
          {schedule.queued_for && `; the one for ${exact(schedule.queued_for)} waits for its end`}
        </p>
      )}
      {skip && <p class="note">{`${schedule.skipped} left out, the newest for ${exact(skip.scheduled_for)}: ${skip.reason}`}</p>}
    </section>
  );
}

/** A time as the clocks of its own zone show it: the text says it already. */
function wall(time: string): string {
  return time.slice(0, 16).replace("T", " ");
}

interface QuestionProps {
  schedule: string;
  action: Action;
  by: string;
  close: () => void;
  done: (id: string | undefined) => void;
}

function ScheduleQuestion({ schedule, action, by, close, done }: QuestionProps) {
  const [requestId] = useState(() => crypto.randomUUID());
  const [reason, setReason] = useState("");
  return (
    <Question
      title={`${TITLES[action]} ${schedule}?`}
      says={SAYS[action]}
      button={TITLES[action]}
      danger={action === "delete"}
      note={shownBy(by)}
      close={close}
      send={async () => done(await change("schedules", schedule, action, { request_id: requestId, ...(action === "pause" ? { reason } : {}) }))}
    >
      {action === "pause" && (
        <Field label="Reason (shown with it)">
          <input type="text" maxLength={1000} value={reason} autocomplete="off" onInput={(event) => setReason(event.currentTarget.value)} />
        </Field>
      )}
    </Question>
  );
}
