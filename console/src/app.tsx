// The frame: where this is, the search, the banner when nobody answers, dark and light, keys.

import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Problem, query, read } from "./api";
import { useHash, usePolled } from "./hooks";
import { InstancePage } from "./instance";
import { LimitsPage } from "./limits";
import { instanceHash, isTyping, ListPage } from "./list";
import { Status } from "./parts";
import { SchedulesPage } from "./schedules";
import type { About, Listed, Page } from "./types";

const THEMES = ["auto", "light", "dark"] as const;
const PAGES: [string, string][] = [
  ["#/", "Instances"],
  ["#/limits", "Limits"],
  ["#/schedules", "Schedules"],
];
type Theme = (typeof THEMES)[number];
const KEYS: [string, string][] = [
  ["/", "search by id"],
  ["↑ ↓, j k", "move in the list"],
  ["Enter", "open"],
  ["g", "all instances"],
  ["l", "limits"],
  ["s", "schedules"],
  ["Esc", "back, or close"],
  ["t", "dark, light, or as the system has it"],
  ["?", "these keys"],
];

function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState<Theme>(() => (localStorage.getItem("theme") as Theme | null) ?? "auto");
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  return [theme, useCallback(() => setTheme((now) => THEMES[(THEMES.indexOf(now) + 1) % THEMES.length] ?? "auto"), [])];
}

export function App() {
  const hash = useHash();
  const [theme, nextTheme] = useTheme();
  const about = usePolled<About>("about", 60_000);
  const [viewProblem, setViewProblem] = useState<Problem>();
  const [keys, setKeys] = useState(false);
  const search = useRef<HTMLInputElement>(null);
  const tell = useCallback((problem?: Problem) => setViewProblem(problem), []);
  const problem = viewProblem ?? about.problem;
  const path = /^#\/instances\/([^?]+)/.exec(hash)?.[1];
  const id = path === undefined ? undefined : decode(path);
  const bare = hash.split("?")[0] ?? "";
  const page = id !== undefined ? "" : bare === "#/limits" || bare === "#/schedules" ? bare : "#/";
  const listHash = useRef("#/");
  if (id === undefined) listHash.current = hash || "#/";

  // After a view is answered again, so is the rest.
  const wasDown = useRef(false);
  useEffect(() => {
    if (wasDown.current && !viewProblem) about.refresh();
    wasDown.current = viewProblem !== undefined;
  }, [viewProblem, about.refresh]);

  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.metaKey || event.ctrlKey || event.altKey) return;
      if (event.key === "Escape") {
        if (document.querySelector("dialog[open]")) return;
        if (isTyping(event)) (event.target as HTMLElement).blur();
        else if (id !== undefined) location.hash = listHash.current;
        return;
      }
      if (isTyping(event)) return;
      if (event.key === "/") {
        event.preventDefault();
        search.current?.focus();
      } else if (event.key === "?") setKeys(true);
      else if (event.key === "t") nextTheme();
      else if (event.key === "g") location.hash = "#/";
      else if (event.key === "l") location.hash = "#/limits";
      else if (event.key === "s") location.hash = "#/schedules";
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [id, nextTheme]);

  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.querySelector<HTMLElement>("main a, main button")?.focus())}>
        Skip to the content
      </a>
      <div class="top" role="banner">
        <a class="brand" href="#/">
          <img src="/icon.svg" width="26" height="26" alt="" />
          Hephaestus
        </a>
        <nav class="pages" aria-label="Pages">
          {PAGES.map(([address, name]) => (
            <a key={name} href={address} {...(page === address ? { "aria-current": "page" } : {})}>
              {name}
            </a>
          ))}
        </nav>
        <span class="place" title={about.value ? `as ${about.value.by}` : ""}>
          {about.value?.place ?? ""}
        </span>
        <Search input={search} />
        <button type="button" class="quiet" onClick={nextTheme} aria-label={`Colours: ${theme}`} title="dark, light, or as the system has it (t)">
          <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
            <path d="M8 2.500a5.500 5.500 0 1 0 0 11a5.500 5.500 0 0 0 0-11" />
            <path class="full" d="M8 2.500a5.500 5.500 0 0 1 0 11z" />
          </svg>
          {theme}
        </button>
        <button type="button" class="quiet" onClick={() => setKeys(true)} aria-label="Keys" title="Keys (?)">
          ?
        </button>
      </div>
      {problem && <Banner problem={problem} />}
      {about.value ? (
        id !== undefined ? (
          <InstancePage key={id} id={id} about={about.value} tell={tell} />
        ) : page === "#/limits" ? (
          <LimitsPage about={about.value} tell={tell} />
        ) : page === "#/schedules" ? (
          <SchedulesPage about={about.value} tell={tell} />
        ) : (
          <ListPage hash={hash} about={about.value} tell={tell} />
        )
      ) : (
        <main id="main">
          <h1 class="hidden">Hephaestus</h1>
          {!problem && <p class="empty">Reading…</p>}
        </main>
      )}
      {keys && <Keys close={() => setKeys(false)} />}
    </>
  );
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function Banner({ problem }: { problem: Problem }) {
  return (
    <div class="banner" role="alert">
      <strong>{problem.title}</strong>
      <span>{problem.message}</span>
      {problem.passing && <span>What is shown may be old; it is asked for again and again.</span>}
    </div>
  );
}

function Search({ input }: { input: { current: HTMLInputElement | null } }) {
  const [text, setText] = useState("");
  const [found, setFound] = useState<Listed[]>();
  const [problem, setProblem] = useState("");
  const close = () => (setFound(undefined), setProblem(""));
  const open = (id: string) => {
    location.hash = instanceHash(id);
    setText("");
    close();
    input.current?.blur();
  };
  const send = async (event: Event) => {
    event.preventDefault();
    close();
    if (!text.trim()) return;
    try {
      const page = await read<Page<Listed>>(query("find", { id: text.trim() }));
      const [first] = page.items;
      if (page.items.length === 1 && first) open(first.id);
      else if (first) setFound(page.items);
      else setProblem(`There is no instance ${text.trim()}.`);
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  return (
    <form class="search" role="search" onSubmit={send}>
      <input
        ref={input}
        type="search"
        aria-label="Search by id"
        placeholder="id, as orderid::42 or 42"
        value={text}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => (setText(event.currentTarget.value), close())}
      />
      {(found || problem) && (
        <div class="found" role="status">
          {problem && <p>{problem}</p>}
          {found?.map((item) => (
            <a key={item.id} href={instanceHash(item.id)} onClick={() => open(item.id)}>
              {item.id} <Status status={item.status} />
            </a>
          ))}
        </div>
      )}
    </form>
  );
}

function Keys({ close }: { close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="keys-title">
      <h2 id="keys-title">Keys</h2>
      <dl class="keys">
        {KEYS.map(([key, does]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <div class="buttons">
        <button type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </div>
    </dialog>
  );
}
