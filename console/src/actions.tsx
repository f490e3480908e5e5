// What can be done to an instance. Each action asks once, says who will be named in history, and is sent under one request id,
// so that pressing twice does it once.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { act } from "./api";
import { Question } from "./dialog";
import { plural } from "./format";
import { instanceHash } from "./list";
import { CLOSED, type Instance, type Json, type Members } from "./types";

export type Wanted =
  | { action: "resume"; step: string; event: string; item?: string }
  | { action: "cancel" | "pause" | "unpause" | "redrive" }
  | { action: "fork"; at: number | undefined };

/** What the names of the library's own workflows begin with. */
const LIBRARY = "hephaestus-";

/** What an event is sent to. */
export const targetOf = (wanted: { step: string; item?: string }) => (wanted.item === undefined ? wanted.step : `${wanted.step}[${wanted.item}]`);

/** The actions that the instance's state allows. */
export function allowed(instance: Instance): Wanted[] {
  if (instance.workflow.startsWith(LIBRARY)) return []; // a schedule is steered as one
  const open = !CLOSED.has(instance.status);
  const cancelling = instance.cancel_requested !== undefined;
  const actions: Wanted[] = [];
  for (const [step, events] of Object.entries(instance.accepts ?? {})) {
    for (const event of events) actions.push({ action: "resume", step, event });
  }
  const steered = instance.steered_at === undefined;
  const ended = instance.status === "failed" || instance.status === "cancelled";
  if ((ended && steered) || (open && instance.parked)) actions.push({ action: "redrive" });
  // What waits for its workflow goes on with that; until then it may be paused by itself.
  const own = instance.paused !== undefined && !instance.paused_by_workflow;
  if (open) actions.push({ action: own ? "unpause" : "pause" });
  if (open && steered && !cancelling && instance.status !== "compensating") actions.push({ action: "cancel" });
  if (steered) actions.push({ action: "fork", at: undefined });
  return actions;
}

export function Actions({ instance, want }: { instance: Instance; want: (wanted: Wanted) => void }) {
  const actions = allowed(instance);
  const steps = [...new Set(actions.flatMap((one) => (one.action === "resume" ? [one.step] : [])))];
  return (
    <div class="actions" role="group" aria-label="Actions">
      {steps.map((step) => (
        <span key={step} class="events" role="group" aria-label={`Events for ${step}`}>
          <span class="of">{instance.steps?.[step]?.status === "waiting" || instance.steps?.[step]?.progress ? step : `${step} (later)`}</span>
          {actions.map((one) =>
            one.action === "resume" && one.step === step ? (
              <button key={one.event} type="button" class={one.event === "timeout" ? "" : "primary"} onClick={() => want(one)}>
                {one.event}
              </button>
            ) : null,
          )}
        </span>
      ))}
      {actions.map((one) =>
        one.action === "resume" ? null : (
          <button
            key={one.action}
            type="button"
            class={one.action === "cancel" ? "danger" : one.action === "redrive" ? "primary" : ""}
            onClick={() => want(one)}
          >
            {TITLES[one.action]}
          </button>
        ),
      )}
      {instance.steered_at && (
        <span class="note">
          {"cancelled, redriven and forked at "}
          <a href={instanceHash(instance.steered_at)}>{instance.steered_at}</a>
        </span>
      )}
    </div>
  );
}

const TITLES: { [action: string]: string } = {
  cancel: "Cancel",
  pause: "Pause",
  unpause: "Unpause",
  redrive: "Redrive",
  fork: "Fork",
};

const EXPLAINED: { [action: string]: string } = {
  cancel: "No further step starts. The instance ends as cancelled when the steps that run now have ended.",
  pause: "No further step starts and no event is delivered until it is unpaused. Steps that run now end; deadlines that pass wait.",
  unpause: "What was held back by the pause goes on.",
  redrive: "The instance goes on. Other ways may be taken this time; steps that have not run yet follow.",
  fork: "Starts a new instance that takes over every step that had completed by that entry. This one is left as it is.",
};

interface DialogProps {
  instance: Instance;
  wanted: Wanted;
  by: string;
  forks: "any" | "unchanged" | "none";
  close: () => void;
  done: (id: string) => void;
}

export function ActionDialog({ instance, wanted, by, forks, close, done }: DialogProps) {
  const [requestId] = useState(() => crypto.randomUUID());
  const [payload, setPayload] = useState("");
  const [reason, setReason] = useState("");
  const [compensate, setCompensate] = useState(false);
  const [newId, setNewId] = useState("");
  const [item, setItem] = useState(wanted.action === "resume" ? wanted.item ?? "" : "");
  const [at, setAt] = useState(wanted.action === "fork" && wanted.at !== undefined ? String(wanted.at) : "");
  const [context, setContext] = useState("");

  const title = wanted.action === "resume" ? `Send “${wanted.event}” to ${targetOf(wanted)}?` : `${TITLES[wanted.action]} ${instance.id}?`;
  const members = (): Members => {
    switch (wanted.action) {
      case "resume":
        return { event: wanted.event, step: wanted.step, payload: parse(payload, "The payload"), ...(item ? { item } : {}) };
      case "cancel":
        return { reason, compensate };
      case "pause":
        return { reason };
      case "fork": {
        if (at && !/^[1-9]\d*$/.test(at)) throw new Error("The entry is the number of an entry in the history, from 1 on.");
        const members: Members = { new_id: newId.trim() };
        if (at) members["at"] = Number(at);
        const data = parse(context, "The start data");
        if (data !== null) members["context"] = data;
        return members;
      }
      default:
        return {};
    }
  };
  return (
    <Question
      title={title}
      says={EXPLAINED[wanted.action]}
      button={wanted.action === "resume" ? `Send ${wanted.event}` : TITLES[wanted.action] ?? ""}
      danger={wanted.action === "cancel"}
      disabled={wanted.action === "fork" && forks === "none"}
      note={`History will name ${by}.`}
      close={close}
      send={async () => done(await act(instance.id, wanted.action, { ...members(), request_id: requestId }))}
    >
      {wanted.action === "resume" && wanted.item === undefined && instance.steps?.[wanted.step]?.progress && (
        <Field label="Item (its key; needed where several wait)">
          <input type="text" maxLength={128} value={item} autocomplete="off" onInput={(event) => setItem(event.currentTarget.value)} />
        </Field>
      )}
      {wanted.action === "resume" && (
        <Field label="Payload (JSON, becomes the step's results)">
          <textarea rows={5} value={payload} spellcheck={false} placeholder='{"note": "…"}' onInput={(event) => setPayload(event.currentTarget.value)} />
        </Field>
      )}
      {(wanted.action === "cancel" || wanted.action === "pause") && (
        <Field label="Reason (kept in its history)">
          <input type="text" maxLength={1000} value={reason} autocomplete="off" onInput={(event) => setReason(event.currentTarget.value)} />
        </Field>
      )}
      {wanted.action === "redrive" && <RedrivePlan instance={instance} />}
      {wanted.action === "cancel" && (
        <label class="check">
          <input type="checkbox" checked={compensate} onChange={(event) => setCompensate(event.currentTarget.checked)} /> first undo what its
          completed steps did
        </label>
      )}
      {wanted.action === "cancel" && compensate && (
        <p class="plan">
          {instance.cancel_undoes?.length ? `Undone in this order, as things stand: ${instance.cancel_undoes.join(", ")}` : "As things stand, there is nothing to undo."}
        </p>
      )}
      {wanted.action === "fork" && forks === "none" && (
        <p class="notice">{`${instance.workflow} is declared with forks="none": the fork is rejected.`}</p>
      )}
      {wanted.action === "fork" && forks === "unchanged" && (
        <p class="notice">{`${instance.workflow} is declared with forks="unchanged": start data and results are taken over as they are.`}</p>
      )}
      {wanted.action === "fork" && (
        <>
          <Field label="Id of the new instance (the part after the colons)">
            <input type="text" required maxLength={128} value={newId} autocomplete="off" onInput={(event) => setNewId(event.currentTarget.value)} />
          </Field>
          <Field label="After which entry of the history (empty: the newest)">
            <input type="text" inputMode="numeric" value={at} autocomplete="off" onInput={(event) => setAt(event.currentTarget.value)} />
          </Field>
          {forks === "any" && (
            <Field label="Other start data (JSON; empty: the same). The fork stays marked with who gave them.">
              <textarea rows={4} value={context} spellcheck={false} onInput={(event) => setContext(event.currentTarget.value)} />
            </Field>
          )}
        </>
      )}
    </Question>
  );
}

const PLANNED: [keyof NonNullable<Instance["redrive"]>, string][] = [
  ["runs_again", "Run again"],
  ["waits_again", "Wait again, also for what came before"],
  ["waits_on", "Go on waiting for the time they had left"],
  ["undoes", "Undone in this order, then it ends"],
  ["kept", "Keep their results"],
];

/** How many of its items a map repeats: of one that was cancelled, what failed stays so. */
function itemsOf(instance: Instance, key: string): string {
  const step = instance.steps?.[key];
  if (instance.redrive?.anew?.includes(key)) return " (anew, with all its items)";
  if (!step?.progress) return "";
  const { total = 0, completed = 0, failed = 0 } = step.progress;
  return ` (${total - completed - (step.status === "mapping" ? failed : 0)} of ${plural(total, "item")})`;
}

/** What a redrive does, by the same decision that it commits. */
function RedrivePlan({ instance }: { instance: Instance }) {
  const lines = PLANNED.filter(([name]) => instance.redrive?.[name]?.length);
  if (!lines.length) return <p class="plan">It goes on as it was; which steps run is not known.</p>;
  return (
    <ul class="plan" aria-label="What the redrive does">
      {lines.map(([name, words]) => (
        <li key={name}>
          {words}: <b>{instance.redrive?.[name]?.map((step) => (name === "runs_again" ? step + itemsOf(instance, step) : step)).join(", ")}</b>
        </li>
      ))}
    </ul>
  );
}

export function Field({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    <label class="field">
      <span>{label}</span>
      {children}
    </label>
  );
}

function parse(text: string, what: string): Json {
  if (!text.trim()) return null;
  try {
    return JSON.parse(text) as Json;
  } catch (error) {
    throw new Error(`${what} is not JSON: ${(error as Error).message}`);
  }
}
