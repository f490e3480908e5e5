// The first page: how many instances there are, and a list of them that can be narrowed down.

import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Problem, query, read } from "./api";
import { ago, plural } from "./format";
import { useNow, usePolled } from "./hooks";
import { Icon, Status, Time, words } from "./parts";
import { merge, NO_ROWS, pageOf, type Rows } from "./rows";
import { type About, type CountsInfo, type Listed, type Page, STATUSES, type TriggerInfo } from "./types";
import { VirtualList } from "./virtual";

const REFRESH = 3_000;
const COUNTS = 5_000;
const LIMIT = 50;
const TIMES: [string, string][] = [
  ["", "any time"],
  ["1h", "the last hour"],
  ["24h", "the last 24 hours"],
  ["7d", "the last 7 days"],
  ["30d", "the last 30 days"],
];
const HOURS: { [span: string]: number } = { "1h": 1, "24h": 24, "7d": 168, "30d": 720 };

export interface Filters {
  workflow: string;
  status: string;
  version: string;
  tag: string;
  since: string;
  /** Whose children are listed. */
  parent: string;
  /** Whether children are among the others. */
  children: string;
}

/** Statuses that are often asked for together; the address takes any, with commas. */
const TOGETHER: [string, string][] = [
  ["pending,running,waiting,compensating", "open"],
  ["failed,cancelled", "failed or cancelled"],
];

export function readFilters(hash: string): Filters {
  const given = new URLSearchParams(hash.replace(/^#\/?\??/, ""));
  const one = (name: string) => given.get(name) ?? "";
  return { workflow: one("workflow"), status: one("status"), version: one("version"), tag: one("tag"), since: one("since"), parent: one("parent"), children: one("children") };
}

export function filtersHash(filters: Filters): string {
  return `#${query("/", { ...filters })}`;
}

export const instanceHash = (id: string) => `#/instances/${encodeURIComponent(id)}`;

export function ListPage({ hash, about, tell }: { hash: string; about: About; tell: (problem?: Problem) => void }) {
  const filters = useMemo(() => readFilters(hash), [hash]);
  const counts = usePolled<CountsInfo>("counts", COUNTS);
  const change = (changed: Partial<Filters>) => {
    location.hash = filtersHash({ ...filters, ...changed });
  };
  return (
    <main class="list-page" id="main">
      <h1 class="hidden">Instances</h1>
      <Counts counts={counts.value} filters={filters} change={change} about={about} />
      <section class="instances" aria-label="Instances">
        <FilterBar filters={filters} counted={counts.value?.workflows.map((one) => one.name) ?? []} about={about} change={change} />
        <Triggers of={about.workflows.find((one) => one.name === filters.workflow)?.triggers ?? []} />
        <InstanceList key={JSON.stringify(filters)} filters={filters} tell={tell} />
      </section>
    </main>
  );
}

const SERVICES = { eventbridge: "EventBridge", s3: "S3", sns: "SNS", message: "messages of the ingest queue" };

/** Who paused a workflow, when and why; empty where it is not paused. */
function pausedOf(about: About, workflow: string): string {
  const paused = about.workflows.find((one) => one.name === workflow)?.paused;
  if (!paused) return "";
  return `paused${paused.by && ` by ${paused.by}`} since ${paused.at}${paused.reason && `: ${paused.reason}`}`;
}

function Triggers({ of }: { of: TriggerInfo[] }) {
  if (!of.length) return null;
  const said = of.map(({ on, to, source, detail_type, bucket, topic, prefix, suffix }) => {
    const only = [source, detail_type, bucket, topic].filter(Boolean).map((names) => names?.join(" or "));
    const key = prefix || suffix ? [`${prefix ?? ""}…${suffix ?? ""}`] : [];
    return `${[SERVICES[on], ...only, ...key].join(" ")} (${to})`;
  });
  return <p class="note">{`Events from outside: ${said.join(", ")}`}</p>;
}

interface CountsProps {
  counts: CountsInfo | undefined;
  filters: Filters;
  change: (changed: Partial<Filters>) => void;
  about: About;
}

function Counts({ counts, filters, change, about }: CountsProps) {
  const names = counts?.workflows.length ? counts.workflows.map((one) => one.name) : about.workflows.map((one) => one.name);
  const of = (name: string, status: string) => counts?.workflows.find((one) => one.name === name)?.counts[status];
  const sum = (status: string) => {
    const all = names.map((name) => of(name, status));
    return all.every((one) => one !== undefined) ? all.reduce((total: number, one) => total + (one ?? 0), 0) : undefined;
  };
  // Counting ends at a bound; a number that holds one that reached it says so.
  const written = (workflow: string, status: string, n: number) => {
    const parts = workflow ? [workflow] : names;
    return `${n}${parts.some((name) => (of(name, status) ?? 0) >= (counts?.most ?? Infinity)) ? "+" : ""}`;
  };
  const rows: [string, string, (status: string) => number | undefined][] = [
    ...(names.length > 1 ? [["", "All workflows", sum] as [string, string, typeof sum]] : []),
    ...names.map((name) => [name, name, (status: string) => of(name, status)] as [string, string, typeof sum]),
  ];
  return (
    <nav class="counts" aria-label="Counts by workflow and status">
      {rows.map(([workflow, title, count]) => (
        <section key={workflow} class="card">
          <h2>
            <button
              type="button"
              class="name"
              aria-pressed={filters.workflow === workflow && !filters.status}
              onClick={() => change({ workflow, status: "", version: "" })}
            >
              {title}
            </button>
            {workflow && about.workflows.length > 0 && !about.workflows.some((one) => one.name === workflow) && <small class="note"> not deployed</small>}
            {pausedOf(about, workflow) && <small class="note" title={pausedOf(about, workflow)}> paused</small>}
          </h2>
          <ul>
            {workflow && STATUSES.every((status) => count(status) === 0) && <li class="note">no instance</li>}
            {STATUSES.map((status) => {
              const known = count(status);
              const pressed = filters.workflow === workflow && filters.status === status;
              // A workflow's own card shows what there is; the one of all shows every status.
              if (workflow && !known && !pressed) return null;
              const shown = known === undefined ? "…" : written(workflow, status, known);
              return (
                <li key={status}>
                  <button
                    type="button"
                    class={`count is-${status} ${known ? "" : "none"}`}
                    aria-pressed={pressed}
                    title={words(status)}
                    onClick={() => change(pressed ? { workflow: "", status: "", version: "" } : { workflow, status, version: "" })}
                  >
                    <span class="hidden">{`${title}, `}</span>
                    <Icon status={status} />
                    <span class="label">{words(status)}</span> <b>{shown}</b>
                  </button>
                </li>
              );
            })}
          </ul>
        </section>
      ))}
    </nav>
  );
}

interface FilterProps {
  filters: Filters;
  /** The workflows that have instances, deployed or not. */
  counted: string[];
  about: About;
  change: (changed: Partial<Filters>) => void;
}

function FilterBar({ filters, counted, about, change }: FilterProps) {
  const [tag, setTag] = useState(filters.tag);
  useEffect(() => setTag(filters.tag), [filters.tag]);
  const custom = filters.since !== "" && !(filters.since in HOURS);
  const any = Object.values(filters).some(Boolean);
  const names = [...new Set([...about.workflows.map((one) => one.name), ...counted, filters.workflow])].filter(Boolean);
  const versions = about.workflows.find((one) => one.name === filters.workflow)?.versions.map((one) => String(one.version)) ?? [];
  const shownVersions = [...new Set([...versions, filters.version])].filter(Boolean);
  const known = [...STATUSES, ...TOGETHER.map(([value]) => value), ""];
  return (
    <form class="filters" aria-label="Filters" onSubmit={(event) => (event.preventDefault(), change({ tag: tag.trim() }))}>
      <label>
        Workflow
        <select value={filters.workflow} onChange={(event) => change({ workflow: event.currentTarget.value, version: "" })}>
          <option value="">all</option>
          {names.map((name) => (
            <option key={name} value={name}>
              {about.workflows.length && !about.workflows.some((one) => one.name === name) ? `${name} (not deployed)` : name}
            </option>
          ))}
        </select>
      </label>
      <label>
        Status
        <select value={filters.status} onChange={(event) => change({ status: event.currentTarget.value })}>
          <option value="">all</option>
          {STATUSES.map((status) => (
            <option key={status}>{status}</option>
          ))}
          {TOGETHER.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
          {!known.includes(filters.status) && <option value={filters.status}>{filters.status.replaceAll(",", " or ")}</option>}
        </select>
      </label>
      {(filters.version || versions.length > 1) && (
        <label>
          Version
          <select value={filters.version} onChange={(event) => change({ version: event.currentTarget.value })}>
            <option value="">all</option>
            {shownVersions.map((version) => (
              <option key={version} value={version}>{`v${version}`}</option>
            ))}
          </select>
        </label>
      )}
      <label>
        Tag
        <input
          type="text"
          value={tag}
          placeholder="any"
          maxLength={64}
          autocomplete="off"
          onInput={(event) => setTag(event.currentTarget.value)}
          onChange={() => change({ tag: tag.trim() })}
        />
      </label>
      <label>
        Started
        <select
          value={custom ? "custom" : filters.since}
          onChange={(event) => {
            const value = event.currentTarget.value;
            change({ since: value === "custom" ? new Date(Date.now() - 3_600_000).toISOString() : value });
          }}
        >
          {TIMES.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
          <option value="custom">since…</option>
        </select>
      </label>
      {custom && (
        <label>
          Since
          <input
            type="datetime-local"
            value={local(filters.since)}
            onChange={(event) => {
              const at = new Date(event.currentTarget.value);
              if (!Number.isNaN(at.getTime())) change({ since: at.toISOString() });
            }}
          />
        </label>
      )}
      {filters.parent ? (
        <span class="note">{`children of ${filters.parent}`}</span>
      ) : (
        <label class="check">
          <input type="checkbox" checked={filters.children !== ""} onChange={(event) => change({ children: event.currentTarget.checked ? "1" : "" })} /> with children
        </label>
      )}
      {any && (
        <button type="button" class="quiet" onClick={() => change({ workflow: "", status: "", version: "", tag: "", since: "", parent: "", children: "" })}>
          clear
        </button>
      )}
    </form>
  );
}

function local(time: string): string {
  const at = new Date(time);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function listQuery(filters: Filters, cursor: string | null): string {
  const hours = HOURS[filters.since];
  // To the minute, so that the same question is asked again and its answer known.
  const since = hours ? new Date(Math.floor(Date.now() / 60_000) * 60_000 - hours * 3_600_000).toISOString() : filters.since;
  return query("instances", { ...filters, since, limit: String(LIMIT), cursor });
}

function InstanceList({ filters, tell }: { filters: Filters; tell: (problem?: Problem) => void }) {
  const [rows, setRows] = useState<Rows>(NO_ROWS);
  const [loaded, setLoaded] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const [selected, setSelected] = useState<{ id: string; index: number }>();
  const [failures, setFailures] = useState(0);
  const known = useRef(rows);
  known.current = rows;
  // The id that was chosen last, before anything of it is drawn: the focus of a key pressed earlier may still be to come.
  const chosen = useRef<string | undefined>(undefined);
  const seen = useRef({ from: 0, to: 0 });
  const asking = useRef(new Set<string | null>());
  const now = useNow(5_000);
  const compact = useCompact();

  const load = useCallback(
    async (cursor: string | null) => {
      if (asking.current.has(cursor)) return;
      asking.current.add(cursor);
      try {
        const page = await read<Page<Listed>>(listQuery(filters, cursor));
        setRows((before) => merge(before, cursor, page));
        setLoaded(true);
        setProblem(undefined);
        setFailures(0);
        tell(undefined);
      } catch (error) {
        const told = error instanceof Problem ? error : new Problem(String(error), "Failed", 0);
        setProblem(told);
        setFailures((before) => before + 1);
        if (told.passing || told.refused) tell(told);
      } finally {
        asking.current.delete(cursor);
      }
    },
    [filters, tell],
  );

  // What is new, and what has changed where somebody looks.
  useEffect(() => {
    void load(null);
  }, [load]);
  useEffect(() => {
    const pause = Math.min(REFRESH * 2 ** Math.min(failures, 3), 15_000);
    const timer = setInterval(() => {
      if (document.hidden) return;
      const { items } = known.current;
      const cursors = new Set<string | null>([null]);
      for (let index = seen.current.from; index < Math.min(seen.current.to, items.length); index += LIMIT / 2) {
        cursors.add(pageOf(known.current, items[index]));
      }
      for (const cursor of cursors) void load(cursor);
    }, pause);
    return () => clearInterval(timer);
  }, [load, failures]);

  const onSeen = useCallback(
    (from: number, to: number) => {
      seen.current = { from, to };
      const { items, pages, done } = known.current;
      const last = pages.at(-1);
      if (to >= items.length - 20 && !done && last?.cursor) void load(last.cursor);
    },
    [load, rows],
  );

  const choose = (id: string, index: number) => {
    chosen.current = id;
    setSelected({ id, index });
  };

  // Arrow keys, j and k move from instance to instance; what is new above does not move the one chosen.
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (isTyping(event) || event.metaKey || event.ctrlKey || event.altKey) return;
      const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10 }[event.key];
      if (!step) return;
      event.preventDefault();
      const { items } = known.current;
      const at = items.findIndex((item) => item.id === chosen.current);
      const index = Math.max(0, Math.min(items.length - 1, at + step));
      const next = items[index];
      if (next) choose(next.id, index);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  useEffect(() => {
    if (!selected) return;
    // After the list has scrolled there, and not if another is chosen by then: its focus would choose it again.
    const frame = requestAnimationFrame(() => {
      if (chosen.current === selected.id) document.querySelector<HTMLElement>(`[data-row="${CSS.escape(selected.id)}"]`)?.focus();
    });
    return () => cancelAnimationFrame(frame);
  }, [selected?.id]);

  if (problem && !problem.passing && !loaded) {
    return (
      <div class="empty" role="alert">
        <p>{problem.message}</p>
      </div>
    );
  }
  if (!loaded) return <p class="empty">{problem ? "Waiting for an answer…" : "Reading…"}</p>;
  if (!rows.items.length) {
    const any = Object.values(filters).some(Boolean);
    return (
      <div class="empty">
        <p>{any ? "No instance is like that." : "There is no instance yet. Start one, and it shows up here."}</p>
      </div>
    );
  }
  return (
    <div class="frame">
      <div class="table" role="table" aria-label="Instances, newest first" aria-rowcount={rows.done ? rows.items.length + 1 : -1}>
      <div role="rowgroup" class="table-head">
        <div role="row" class="row head" aria-rowindex={1}>
          <span role="columnheader">Instance</span>
          <span role="columnheader">Status</span>
          <span role="columnheader">Workflow</span>
          <span role="columnheader">Tags</span>
          <span role="columnheader">Started</span>
          <span role="columnheader">Changed</span>
        </div>
      </div>
      <VirtualList
        count={rows.items.length}
        height={compact ? 68 : 44}
        label="Instances"
        show={selected?.index}
        onSeen={onSeen}
        row={(index) => {
          const item = rows.items[index] as Listed;
          return (
            <div key={item.id} role="row" class="row" aria-rowindex={index + 2}>
              <span role="cell" class="id">
                <a href={instanceHash(item.id)} data-row={item.id} onFocus={() => choose(item.id, index)}>
                  {item.id}
                </a>
                {item.generation > 1 && <small title="generation">{`#${item.generation}`}</small>}
                {item.path && <small title="where it is in its tree">{`${item.path} of ${item.root}`}</small>}
              </span>
              <span role="cell">
                <Status status={item.status} />
              </span>
              <span role="cell" class="workflow">{`${item.workflow} v${item.version}`}</span>
              <span role="cell" class="tags">
                {(item.tags ?? []).map((tag) => (
                  <span key={tag} class="tag">
                    {tag}
                  </span>
                ))}
              </span>
              <span role="cell" class="when">
                <Time at={item.created_at} text={ago(item.created_at, now)} />
              </span>
              <span role="cell" class="when changed">
                <Time at={item.updated_at} text={ago(item.updated_at, now)} />
              </span>
            </div>
          );
        }}
      />
      </div>
      <p class="more" role="status">
        {rows.done ? plural(rows.items.length, "instance") : `${plural(rows.items.length, "instance")} read; scroll for more`}
      </p>
    </div>
  );
}

export function isTyping(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement;
  return (
    target.matches?.("input, select, textarea, pre") || target.isContentEditable || target.closest?.("dialog") !== null
  );
}

function useCompact(): boolean {
  const narrow = useMemo(() => matchMedia("(max-width: 760px)"), []);
  const [compact, setCompact] = useState(narrow.matches);
  useEffect(() => {
    const changed = () => setCompact(narrow.matches);
    narrow.addEventListener("change", changed);
    return () => narrow.removeEventListener("change", changed);
  }, [narrow]);
  return compact;
}
