// Small things that several views show: a status, a time, data.

import { useState } from "preact/hooks";
import { exact, size } from "./format";
import type { Failure, Json } from "./types";

const ICONS: { [status: string]: string } = {
  pending: "M8 2.500a5.500 5.500 0 1 0 0 11a5.500 5.500 0 0 0 0-11",
  running: "M5.500 3.500v9l7-4.500z",
  waiting: "M8 2.500a5.500 5.500 0 1 0 0 11a5.500 5.500 0 0 0 0-11M8 5v3.200l2.200 1.500",
  mapping: "M3.500 3.500h3v3h-3zM9.500 3.500h3v3h-3zM3.500 9.500h3v3h-3zM9.500 9.500h3v3h-3z",
  looping: "M12.700 6.500A5 5 0 1 0 13 8.500M13 3.500v3.200H9.800M8 6v2.200l1.500 1",
  retrying: "M12.700 6.500A5 5 0 1 0 13 8.500M13 3.500v3.200H9.800",
  completed: "M3.500 8.500l3 3l6-7",
  failed: "M4 4l8 8M12 4l-8 8",
  undone: "M6 3.500l-3.500 3.500l3.500 3.500M2.500 7h7a3.500 3.500 0 0 1 0 7h-3",
  cancelled: "M8 2.500a5.500 5.500 0 1 0 0 11a5.500 5.500 0 0 0 0-11M4.200 11.800l7.600-7.600",
  compensating: "M6 4L3 7l3 3M3 7h6a4 3 0 0 1 0 6H7",
  compensated: "M6 4L3 7l3 3M3 7h6a4 3 0 0 1 0 6H7",
  compensation_failed: "M8 2.500l6 11H2zM8 7v3M8 11.800v.4",
  skipped: "M4 8h8",
  paused: "M5.500 4v8M10.500 4v8",
};

export function Icon({ status, x, y }: { status: string; x?: number; y?: number }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" {...(x === undefined ? {} : { x, y })}>
      <path d={ICONS[status] ?? ICONS["pending"]} />
    </svg>
  );
}

export const words = (status: string) => status.replaceAll("_", " ");

export function Status({ status }: { status: string }) {
  return (
    <span class={`status is-${status}`}>
      <Icon status={status} />
      {words(status)}
    </span>
  );
}

export function Time({ at, text }: { at: string; text: string }) {
  return (
    <time dateTime={at} title={exact(at)}>
      {text}
    </time>
  );
}

const SHOWN = 20_000;

/** A value as JSON. Only ever as text: nothing in it can become markup. */
export function Data({ value, label }: { value: Json | undefined; label: string }) {
  const [all, setAll] = useState(false);
  const [copied, setCopied] = useState(false);
  if (value === undefined) return null;
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const copy = async () => {
    await navigator.clipboard.writeText(text).catch(() => {});
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <figure class="data">
      <figcaption>
        <span>{label}</span>
        <button type="button" class="quiet" onClick={copy} aria-label={`Copy ${label}`}>
          {copied ? "copied" : "copy"}
        </button>
      </figcaption>
      <pre tabIndex={0} aria-label={label}>
        {all ? text : text.slice(0, SHOWN)}
      </pre>
      {!all && text.length > SHOWN && (
        <button type="button" class="quiet" onClick={() => setAll(true)}>
          {`show all of it (${size(text.length)})`}
        </button>
      )}
    </figure>
  );
}

/** Data that the server left out because it is large, fetched when it is asked for. */
export function Large({ label, characters, fetch }: { label: string; characters: number; fetch: () => Promise<Json> }) {
  const [value, setValue] = useState<Json>();
  const [problem, setProblem] = useState("");
  if (value !== undefined) return <Data value={value} label={label} />;
  return (
    <p class="large">
      <span>{`${label}: ${size(characters)}`}</span>
      <button
        type="button"
        onClick={() => fetch().then(setValue, (error: Error) => setProblem(error.message))}
      >{`Load ${label}`}</button>
      {problem && <span class="wrong">{problem}</span>}
    </p>
  );
}

export function ErrorText({ error, label = "Error" }: { error: Failure; label?: string }) {
  return (
    <div class="error" role="group" aria-label={label}>
      <strong>{error.type}</strong>
      <pre tabIndex={0} aria-label={`${label}: message`}>
        {error.message}
      </pre>
      {error.trace && (
        <details>
          <summary>Where it was raised</summary>
          <pre tabIndex={0}>{error.trace}</pre>
        </details>
      )}
    </div>
  );
}
