// An instance's history, read page by page, and then only what is new: a log only grows.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Problem, query, read } from "./api";
import type { Entry, Instance, Page } from "./types";

const LIMIT = 200;

export interface Log {
  entries: Entry[];
  complete: boolean;
  problem: Problem | undefined;
}

const NOTHING: Log = { entries: [], complete: false, problem: undefined };

/** The history of `instance`'s generation; read on whenever the instance has changed. */
export function useLog(instance: Instance | undefined): Log {
  const id = instance?.id ?? "";
  const generation = instance?.generation ?? 0;
  const name = `${id}#${generation}`;
  // Sentences of how long something waits change as time goes by; the history does not.
  const changed = useMemo(() => JSON.stringify(instance, (member, value) => (member === "why" ? undefined : value)), [instance]);
  const [state, setState] = useState<{ name: string; log: Log }>({ name, log: NOTHING });
  const log = state.name === name ? state.log : NOTHING;
  const current = useRef({ name, log });
  current.current = { name, log };
  useEffect(() => {
    if (changed === undefined) return;
    let stopped = false;
    let timer = 0;
    const readOn = async () => {
      let entries = current.current.log.entries;
      let cursor: string | null = entries.length ? String(entries.at(-1)?.sequence) : null;
      try {
        do {
          const path = query(`instances/${encodeURIComponent(id)}/history`, { generation: String(generation), limit: String(LIMIT), cursor });
          const page: Page<Entry> = await read(path);
          if (stopped) return;
          entries = page.items.length ? [...entries, ...page.items] : entries;
          cursor = page.cursor;
          const complete = cursor === null;
          const found = { entries, complete, problem: undefined };
          setState((before) =>
            before.name === name && before.log.entries === entries && before.log.complete === complete && !before.log.problem
              ? before
              : { name, log: found },
          );
        } while (cursor !== null);
      } catch (error) {
        if (stopped) return;
        const problem = error instanceof Problem ? error : new Problem(String(error), "Failed", 0);
        setState((before) => ({ name, log: { ...(before.name === name ? before.log : NOTHING), problem } }));
        timer = window.setTimeout(readOn, 3_000);
      }
    };
    void readOn();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [changed, id, generation, name]);
  return log;
}
