// Asks the console's own server. Every answer is kept with its ETag, so that asking again costs little when nothing changed.

import type { Members } from "./types";

const KEY = "hephaestus-key";

/** What the server, or nobody, answered; `refused` is true where this browser has to be let in again. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly title: string,
    readonly status: number,
  ) {
    super(message);
  }
  get refused(): boolean {
    return this.title === "Not let in" && this.status === 401;
  }
  get passing(): boolean {
    return this.status === 0 || this.status >= 500;
  }
}

/** The address that was printed leads here with the key in its fragment: keep it, and take it out of the address. */
export function takeKey(): void {
  const given = /^#key=([0-9a-f]+)$/.exec(location.hash)?.[1];
  if (given) {
    localStorage.setItem(KEY, given);
    history.replaceState(null, "", "/");
  }
}

const known = new Map<string, { tag: string; body: unknown }>();

async function send(path: string, init: RequestInit & { headers?: Record<string, string> }): Promise<Response> {
  const headers = { ...init.headers, "X-Hephaestus-Key": localStorage.getItem(KEY) ?? "" };
  let answer: Response;
  try {
    answer = await fetch(`/api/${path}`, { ...init, headers, cache: "no-store", redirect: "error" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Problem("The console's server does not answer. Is `hephaestus console` still running?", "No answer", 0);
  }
  if (!answer.ok && answer.status !== 304) {
    const said = await answer.json().catch(() => ({}));
    throw new Problem(said.detail ?? `HTTP status ${answer.status}`, said.title ?? "Refused", answer.status);
  }
  return answer;
}

/** Reads; the same object comes back as long as nothing changed. */
export async function read<T>(path: string, signal?: AbortSignal): Promise<T> {
  const before = known.get(path);
  const answer = await send(path, {
    headers: before ? { "If-None-Match": before.tag } : {},
    ...(signal ? { signal } : {}),
  });
  if (answer.status === 304 && before) return before.body as T;
  const body = await answer.json();
  const tag = answer.headers.get("ETag");
  if (tag) {
    known.delete(path);
    known.set(path, { tag, body });
    if (known.size > 60) known.delete(known.keys().next().value as string);
  }
  return body as T;
}

/** Does something to an instance; returns the id of the instance to look at next. */
export async function act(id: string, action: string, body: Members): Promise<string> {
  const answer = await send(`instances/${encodeURIComponent(id)}/${action}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return ((await answer.json()) as { id: string }).id;
}

/** Does something to a limit or a schedule; returns the id of the instance to look at next, if there is one. */
export async function change(kind: "limits" | "schedules", name: string, action: string, body: Members): Promise<string | undefined> {
  const answer = await send(`${kind}/${encodeURIComponent(name)}/${action}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return ((await answer.json()) as { id?: string }).id;
}

export function query(path: string, members: { [name: string]: string | null | undefined }): string {
  const given = Object.entries(members).filter(([, value]) => value) as [string, string][];
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}
