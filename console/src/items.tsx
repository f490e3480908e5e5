// The items of a map: only those that are seen are read, so that ten thousand scroll as fifty do.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { Wanted } from "./actions";
import { query, read } from "./api";
import { instanceHash } from "./list";
import { Data, ErrorText, Status, words } from "./parts";
import type { Instance, ItemView } from "./types";
import { VirtualList } from "./virtual";

const PAGE = 100;
const ROW = 34;

interface Page {
  items: ItemView[];
  cursor: string | null;
}

interface Props {
  instance: Instance;
  step: string;
  progress: { [status: string]: number };
  want: (wanted: Wanted) => void;
}

/** The items of a map; failures are found at once by their status. */
export function Items({ instance, step, progress, want }: Props) {
  const [status, setStatus] = useState("");
  const statuses = Object.keys(progress).filter((name) => name !== "total" && progress[name]);
  const shown = { instance, step, progress, want };
  return (
    <div class="items">
      <div class="tools">
        <label>
          {"items "}
          <select value={status} onChange={(event) => setStatus(event.currentTarget.value)}>
            <option value="">{`all ${progress["total"] ?? 0}`}</option>
            {statuses.map((name) => (
              <option key={name} value={name}>{`${words(name)} ${progress[name]}`}</option>
            ))}
          </select>
        </label>
        {progress["failed"] && status !== "failed" ? (
          <button type="button" class="danger" onClick={() => setStatus("failed")}>
            {`show the ${progress["failed"]} failed`}
          </button>
        ) : null}
      </div>
      {status ? <Some key={status} {...shown} status={status} /> : <All {...shown} />}
    </div>
  );
}

function ask(instance: Instance, step: string, status: string, cursor: string | null): Promise<Page> {
  return read<Page>(query(`instances/${encodeURIComponent(instance.id)}/items`, { step, status, cursor, limit: String(PAGE) }));
}

/** All items: a place says which page it is on, so that whatever is scrolled to is read. */
function All({ instance, step, progress, want }: Props) {
  const total = progress["total"] ?? 0;
  const [items, setItems] = useState<Map<number, ItemView>>(new Map());
  const [problem, setProblem] = useState("");
  const asked = useRef(new Set<number>());
  const seen = useRef<[number, number]>([0, 0]);
  const load = useCallback(
    async (page: number) => {
      if (asked.current.has(page)) return;
      asked.current.add(page);
      try {
        const end = (page + 1) * PAGE;
        let cursor: string | null = String(page * PAGE);
        while (cursor !== null && Number(cursor) < end) {
          const found: Page = await ask(instance, step, "", cursor);
          cursor = found.cursor;
          setItems((before) => new Map([...before, ...found.items.map((one) => [one.index, one] as const)]));
        }
        setProblem("");
      } catch (error) {
        asked.current.delete(page);
        setProblem((error as Error).message);
      }
    },
    [instance.id, step],
  );
  const look = useCallback(
    (from: number, to: number) => {
      seen.current = [from, to];
      for (let page = Math.floor(from / PAGE); page * PAGE < Math.min(to, total); page++) void load(page);
    },
    [load, total],
  );
  const news = JSON.stringify(progress);
  useEffect(() => {
    asked.current.clear();
    look(...seen.current);
  }, [news, look]);
  return <List count={total} row={(index) => items.get(index)} onSeen={look} problem={problem} answers={answers(instance, step, want)} />;
}

/** The items in a status, in their order: more are read as the end of those that are known is seen. */
function Some({ instance, step, progress, want, status }: Props & { status: string }) {
  const [items, setItems] = useState<ItemView[]>([]);
  const [cursor, setCursor] = useState<string | null>(null);
  const [problem, setProblem] = useState("");
  const busy = useRef(false);
  const load = useCallback(
    async (from: string | null, before: ItemView[]) => {
      if (busy.current) return;
      busy.current = true;
      try {
        let found = await ask(instance, step, status, from);
        while (!found.items.length && found.cursor !== null) found = await ask(instance, step, status, found.cursor);
        setItems([...before, ...found.items]);
        setCursor(found.cursor);
        setProblem("");
      } catch (error) {
        setProblem((error as Error).message);
      } finally {
        busy.current = false;
      }
    },
    [instance.id, step, status],
  );
  const news = JSON.stringify(progress);
  useEffect(() => void load(null, []), [news, load]);
  const look = useCallback(
    (_from: number, to: number) => {
      if (cursor !== null && to >= items.length) void load(cursor, items);
    },
    [cursor, items, load],
  );
  const count = items.length + (cursor === null ? 0 : 1);
  return <List count={count} row={(index) => items[index]} onSeen={look} problem={problem} answers={answers(instance, step, want)} />;
}

/** The events that a waiting item takes, and what sends one. */
interface Answers {
  events: string[];
  send: (event: string, item: string) => void;
}

const answers = (instance: Instance, step: string, want: (wanted: Wanted) => void): Answers => ({
  events: instance.accepts?.[step] ?? [],
  send: (event, item) => want({ action: "resume", step, event, item }),
});

interface ListProps {
  count: number;
  row: (index: number) => ItemView | undefined;
  onSeen: (from: number, to: number) => void;
  problem: string;
  answers: Answers;
}

/** The rows that are seen and, below them, what is known of the one that was chosen. */
function List({ count, row, onSeen, problem, answers }: ListProps) {
  const [open, setOpen] = useState<ItemView>();
  const choose = (one: ItemView) => setOpen(open?.key === one.key ? undefined : one);
  const line = (index: number) => {
    const one = row(index);
    return <Row key={index} index={index} one={one} chosen={one !== undefined && open?.key === one.key} choose={choose} answers={answers} />;
  };
  return (
    <>
      {problem && <p class="wrong">{problem}</p>}
      <div class="all" role="table" aria-label="Items" aria-rowcount={count} style={{ height: `${Math.min(count, 12) * ROW}px` }}>
        <VirtualList count={count} height={ROW} label="Items of the map" onSeen={onSeen} row={line} />
      </div>
      {open && (
        <div class="open" aria-label={`Item ${open.key}`}>
          {open.child && (
            <p>
              {"its workflow: "}
              <a href={instanceHash(open.child)}>{open.child}</a> {open.child_status && <Status status={open.child_status} />}
            </p>
          )}
          {open.error && <ErrorText error={open.error} />}
          <Data value={open.item} label={`item ${open.key}`} />
          <Data value={open.results} label="results" />
        </div>
      )}
    </>
  );
}

interface RowProps {
  index: number;
  one: ItemView | undefined;
  chosen: boolean;
  choose: (one: ItemView) => void;
  answers: Answers;
}

function Row({ index, one, chosen, choose, answers }: RowProps) {
  const note = one?.error ? `${one.error.type}: ${one.error.message}` : (one?.event ?? "");
  return (
    <div role="row" aria-rowindex={index + 1} class="item">
      <span role="cell" class="key">
        {one ? (
          <button type="button" class="name" aria-expanded={chosen} title={one.key} onClick={() => choose(one)}>
            {one.key}
          </button>
        ) : (
          "…"
        )}
      </span>
      <span role="cell">{one && <Status status={one.status} />}</span>
      <span role="cell" class={`note ${one?.error ? "bad" : ""}`} title={note}>
        {note}
      </span>
      <span role="cell" class="events">
        {one?.status === "waiting" &&
          answers.events.map((event) => (
            <button key={event} type="button" onClick={() => answers.send(event, one.key)}>
              {event}
            </button>
          ))}
      </span>
    </div>
  );
}
