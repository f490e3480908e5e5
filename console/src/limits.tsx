// Limits: how many permits are held, who waits for one, and whose number counts.

import { useEffect, useState } from "preact/hooks";
import { Field } from "./actions";
import { change, type Problem, query } from "./api";
import { Question, shownBy } from "./dialog";
import { ago } from "./format";
import { useNow, usePolled } from "./hooks";
import { instanceHash } from "./list";
import { Time } from "./parts";
import type { About, LimitInfo, Page, Place } from "./types";

const REFRESH = 3_000;

export function LimitsPage({ about, tell }: { about: About; tell: (problem?: Problem) => void }) {
  const [cursors, setCursors] = useState<string[]>([]);
  const path = query("limits", { cursor: cursors.at(-1) });
  const { value, problem, refresh } = usePolled<Page<LimitInfo>>(path, REFRESH);
  const [open, setOpen] = useState<string>();
  const [wanted, setWanted] = useState<{ limit: LimitInfo; action: "set" | "unset" }>();
  const [done, setDone] = useState("");
  const now = useNow(1_000);
  useEffect(() => tell(problem), [problem, tell]);
  useEffect(() => {
    document.title = "Limits · Hephaestus";
    return () => {
      document.title = "Hephaestus";
    };
  }, []);
  return (
    <main class="instance-page" id="main">
      <h1>Limits</h1>
      <p class="done" role="status">
        {done}
      </p>
      {!value && <p class="empty">{problem ? "Waiting for an answer…" : "Reading…"}</p>}
      {value && !value.items.length && <p class="empty">No limit was used yet.</p>}
      {value?.items.map((one) => (
        <section key={one.limit} class="panel card limit" aria-label={`Limit ${one.limit}`}>
          <div class="head">
            <h2>
              <button type="button" class="name" aria-expanded={open === one.limit} onClick={() => setOpen((before) => (before === one.limit ? undefined : one.limit))}>
                {one.limit}
              </button>
            </h2>
            {one.kind === "rate" ? <span>{rateOf(one, now)}</span> : <Usage limit={one} />}
            <span>{lineOf(one, now)}</span>
            <span class="note">{numberOf(one, now)}</span>
            <span class="actions">
              <button type="button" onClick={() => (setDone(""), setWanted({ limit: one, action: "set" }))}>
                Set
              </button>
              {one.set_to !== undefined && (
                <button type="button" onClick={() => (setDone(""), setWanted({ limit: one, action: "unset" }))}>
                  Unset
                </button>
              )}
            </span>
          </div>
          {open === one.limit && (
            <div class="two">
              {one.kind !== "rate" && <Places title="Hold a permit, the longest first" places={one.holders ?? []} now={now} none="No one holds a permit." rest={one.held - (one.holders?.length ?? 0)} />}
              <Places title="Stand in line, the first one first" places={one.line ?? []} now={now} none="No one stands in line." rest={one.in_line - (one.line?.length ?? 0)} />
            </div>
          )}
        </section>
      ))}
      <div class="buttons">
        {cursors.length > 0 && (
          <button type="button" onClick={() => setCursors((before) => before.slice(0, -1))}>
            Back
          </button>
        )}
        {value?.cursor && (
          <button type="button" onClick={() => setCursors((before) => [...before, value.cursor as string])}>
            More
          </button>
        )}
      </div>
      {wanted && (
        <NumberQuestion
          limit={wanted.limit}
          action={wanted.action}
          by={about.by}
          close={() => setWanted(undefined)}
          done={(text) => {
            setWanted(undefined);
            setDone(text);
            refresh();
          }}
        />
      )}
    </main>
  );
}

function Usage({ limit }: { limit: LimitInfo }) {
  const most = Math.max(limit.number ?? 0, limit.held, 1);
  const full = limit.held >= (limit.number ?? 0);
  return (
    <span class="usage">
      <span class={full ? "gauge full" : "gauge"} aria-hidden="true">
        <span style={{ width: `${(100 * limit.held) / most}%` }} />
      </span>
      {`${limit.held} of ${limit.number ?? "?"} held`}
    </span>
  );
}

function rateOf(limit: LimitInfo, now: number): string {
  if (limit.number === undefined) return "rate";
  if (!limit.number) return "0: nothing starts";
  const ahead = limit.next_at ? Date.parse(limit.next_at) - now : 0;
  return `${speed(limit.number, limit.period_seconds)}, ${limit.burst} at once; ${ahead > 0 ? `next place in ${Math.ceil(ahead / 1000)} s` : "free"}`;
}

function speed(number: number, period?: number): string {
  return `${number} in ${period ?? "?"} s`;
}

function inCode(limit: LimitInfo): string {
  return limit.kind === "rate" && limit.declared !== undefined ? speed(limit.declared, limit.declared_period_seconds) : String(limit.declared);
}

function lineOf(limit: LimitInfo, now: number): string {
  if (!limit.in_line) return "no line";
  const since = limit.waits_since ? `, the oldest came ${ago(limit.waits_since, now)}` : "";
  return `${limit.in_line}${limit.more ? " or more" : ""} in line${since}`;
}

function numberOf(limit: LimitInfo, now: number): string {
  if (limit.set_to === undefined) return limit.number === undefined ? "" : "the number is the code's";
  const by = limit.changed_by ? ` by ${limit.changed_by}` : "";
  const at = limit.changed_at ? ` ${ago(limit.changed_at, now)}` : "";
  const why = limit.reason ? ` (${limit.reason})` : "";
  return `set${by}${at}${why}${limit.declared === undefined ? "" : `; ${inCode(limit)} in the code`}`;
}

function Places({ title, places, now, none, rest = 0 }: { title: string; places: Place[]; now: number; none: string; rest?: number }) {
  return (
    <div>
      <h3>{title}</h3>
      {!places.length && <p class="note">{none}</p>}
      <ol class="places">
        {places.map((one) => (
          <li key={`${one.id} ${one.step ?? ""}`}>
            <a href={instanceHash(one.id)}>{one.id}</a>
            {one.path && <small>{`${one.path} of ${one.root}`}</small>}
            <span>{one.step ?? "the whole instance"}</span>
            <Time at={one.since} text={ago(one.since, now)} />
          </li>
        ))}
      </ol>
      {rest > 0 && <p class="note">{`and ${rest} more`}</p>}
    </div>
  );
}

interface QuestionProps {
  limit: LimitInfo;
  action: "set" | "unset";
  by: string;
  close: () => void;
  done: (text: string) => void;
}

function NumberQuestion({ limit, action, by, close, done }: QuestionProps) {
  const rate = limit.kind === "rate";
  const [number, setNumber] = useState(String(limit.number ?? ""));
  const [period, setPeriod] = useState(String(limit.period_seconds ?? ""));
  const [burst, setBurst] = useState(String(limit.burst ?? ""));
  const [reason, setReason] = useState("");
  if (action === "unset") {
    return (
      <Question
        title={`Unset ${limit.limit}?`}
        says={`The number of the newest deployment counts again${limit.declared === undefined ? "" : `: ${inCode(limit)}`}.`}
        button="Unset"
        note={shownBy(by)}
        close={close}
        send={async () => {
          await change("limits", limit.limit, "unset", {});
          done(`${limit.limit} has the number of the code.`);
        }}
      />
    );
  }
  return (
    <Question
      title={`Set ${limit.limit}?`}
      says={
        rate
          ? "It counts until it is unset, whatever is deployed. What has its time keeps it; what comes after it starts at the new rate. With 0, nothing that names the rate starts."
          : "The number counts until it is unset, whatever is deployed. A greater one calls who stands in line at once; a smaller one takes no permit away. With 0, nothing that names the limit runs."
      }
      button="Set"
      danger={number.trim() === "0"}
      note={shownBy(by)}
      close={close}
      send={async () => {
        if (!/^\d+$/.test(number.trim())) throw new Error("The number is a whole number, from 0 on.");
        if (rate && !(Number(period) >= 1)) throw new Error("The time is a number of seconds, from 1 on.");
        if (rate && !/^[1-9]\d*$/.test(burst.trim())) throw new Error("At once, 1 or more may start.");
        const own = rate ? { period_seconds: Number(period), burst: Number(burst) } : {};
        await change("limits", limit.limit, "set", { number: Number(number), ...own, ...(reason.trim() ? { reason: reason.trim() } : {}) });
        done(`${limit.limit} is set to ${rate && Number(number) ? speed(Number(number), Number(period)) : Number(number)}.`);
      }}
    >
      <Field label={rate ? "How many may start" : "How many may run at once"}>
        <input type="text" inputMode="numeric" value={number} autocomplete="off" onInput={(event) => setNumber(event.currentTarget.value)} />
      </Field>
      {rate && (
        <Field label="In how many seconds">
          <input type="text" inputMode="decimal" value={period} autocomplete="off" onInput={(event) => setPeriod(event.currentTarget.value)} />
        </Field>
      )}
      {rate && (
        <Field label="At once after a pause">
          <input type="text" inputMode="numeric" value={burst} autocomplete="off" onInput={(event) => setBurst(event.currentTarget.value)} />
        </Field>
      )}
      <Field label="Reason (optional)">
        <input type="text" value={reason} autocomplete="off" onInput={(event) => setReason(event.currentTarget.value)} />
      </Field>
    </Question>
  );
}
