// What the views have in common: asking again and again, the time, and small pieces of the browser's state.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Problem, read } from "./api";

export interface Polled<T> {
  value: T | undefined;
  problem: Problem | undefined;
  refresh: () => void;
}

const SLOWEST = 15_000;

/** Asks for `path` every `every` ms while the page is seen, more rarely after a failure; `null` asks for nothing. */
export function usePolled<T>(path: string | null, every: number): Polled<T> {
  const [state, setState] = useState<{ path: string | null; value?: T; problem?: Problem }>({ path });
  const trigger = useRef<() => void>(() => {});
  useEffect(() => {
    if (path === null) return;
    const aborter = new AbortController();
    let timer = 0;
    let failures = 0;
    let busy = false;
    const ask = async () => {
      clearTimeout(timer);
      if (busy) return;
      busy = true;
      try {
        const value = await read<T>(path, aborter.signal);
        failures = 0;
        setState((before) =>
          before.path === path && before.value === value && !before.problem ? before : { path, value },
        );
      } catch (error) {
        if (aborter.signal.aborted) return;
        failures += 1;
        const problem = error instanceof Problem ? error : new Problem(String(error), "Failed", 0);
        setState((before) => ({ path, ...(before.path === path && before.value ? { value: before.value } : {}), problem }));
      } finally {
        busy = false;
      }
      if (aborter.signal.aborted) return;
      const pause = failures ? Math.min(every * 2 ** (failures - 1), SLOWEST) : every;
      if (!document.hidden) timer = window.setTimeout(ask, pause);
    };
    const seen = () => {
      if (!document.hidden) void ask();
    };
    trigger.current = () => void ask();
    document.addEventListener("visibilitychange", seen);
    void ask();
    return () => {
      aborter.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [path, every]);
  const refresh = useCallback(() => trigger.current(), []);
  return {
    value: state.path === path ? state.value : undefined,
    problem: state.path === path ? state.problem : undefined,
    refresh,
  };
}

/** The time in ms, renewed every `every` ms. */
export function useNow(every: number): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** The part of the address behind the `#`. */
export function useHash(): string {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return hash;
}

/** The width in pixels of an element. */
export function useWidth<E extends HTMLElement>(): [(element: E | null) => void, number] {
  const [width, setWidth] = useState(0);
  const observer = useRef<ResizeObserver | undefined>(undefined);
  const attach = useCallback((element: E | null) => {
    observer.current?.disconnect();
    if (!element) return;
    observer.current = new ResizeObserver((entries) => setWidth(Math.floor(entries[0]?.contentRect.width ?? 0)));
    observer.current.observe(element);
    setWidth(Math.floor(element.clientWidth));
  }, []);
  return [attach, width];
}
