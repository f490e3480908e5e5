// The items of a map: only those that are seen are read, so that ten thousand scroll as fifty do.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { query, read } from "./api";
import { Status } from "./parts";
import type { Instance, ItemView } from "./types";
import { VirtualList } from "./virtual";

const PAGE = 100;
const ROW = 26;

interface Page {
  items: ItemView[];
  cursor: string | null;
}

interface Props {
  instance: Instance;
  step: string;
  progress: { [status: string]: number };
}

/** The items of a map; failures are found at once by their status. */
export function Items({ instance, step, progress }: Props) {
  const [status, setStatus] = useState("");
  const statuses = Object.keys(progress).filter((name) => name !== "total" && progress[name]);
  const shown = { instance, step, progress };
  return (
    <div class="items">
      <label>
        {"items "}
        <select value={status} onChange={(event) => setStatus(event.currentTarget.value)}>
          <option value="">{`all ${progress["total"] ?? 0}`}</option>
          {statuses.map((name) => (
            <option key={name} value={name}>{`${name.replace("_", " ")} ${progress[name]}`}</option>
          ))}
        </select>
      </label>
      {status ? <Some key={status} {...shown} status={status} /> : <All {...shown} />}
    </div>
  );
}

function ask(instance: Instance, step: string, status: string, cursor: string | null): Promise<Page> {
  return read<Page>(query(`instances/${encodeURIComponent(instance.id)}/items`, { step, status, cursor, limit: String(PAGE) }));
}

/** All items: a place says which page it is on, so that whatever is scrolled to is read. */
function All({ instance, step, progress }: Props) {
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
  return <List count={total} row={(index) => items.get(index)} onSeen={look} problem={problem} />;
}

/** The items in a status, in their order: more are read as the end of those that are known is seen. */
function Some({ instance, step, progress, status }: Props & { status: string }) {
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
  return <List count={count} row={(index) => items[index]} onSeen={look} problem={problem} />;
}

interface ListProps {
  count: number;
  row: (index: number) => ItemView | undefined;
  onSeen: (from: number, to: number) => void;
  problem: string;
}

function List({ count, row, onSeen, problem }: ListProps) {
  return (
    <>
      {problem && <p class="wrong">{problem}</p>}
      <div class="all" role="table" aria-label="Items" aria-rowcount={count} style={{ height: `${Math.min(count, 12) * ROW}px` }}>
        <VirtualList count={count} height={ROW} label="Items of the map" onSeen={onSeen} row={(index) => <Row key={index} index={index} one={row(index)} />} />
      </div>
    </>
  );
}

function Row({ index, one }: { index: number; one: ItemView | undefined }) {
  const note = one?.error ? `${one.error.type}: ${one.error.message}` : (one?.event ?? "");
  return (
    <div role="row" aria-rowindex={index + 1} class="item">
      <span role="cell" class="name">
        {one?.key ?? "…"}
      </span>
      <span role="cell">{one && <Status status={one.status} />}</span>
      <span role="cell" class="note" title={note}>
        {note}
      </span>
    </div>
  );
}
