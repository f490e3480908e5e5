// The instances that a list knows, newest first, put together from pages that are asked for again and again.

import type { Listed, Page } from "./types";

/**
 * Everything a list knows.
 *
 * `pages` are the cursors at which its pages begin, each with the start time that all its items are older than; `done`
 * says that the last of them was read and is the end.
 */
export interface Rows {
  items: Listed[];
  pages: { cursor: string | null; before: string }[];
  done: boolean;
}

export const NO_ROWS: Rows = { items: [], pages: [{ cursor: null, before: "9999" }], done: false };

const newestFirst = (a: Listed, b: Listed) =>
  a.created_at === b.created_at ? (a.id < b.id ? 1 : -1) : a.created_at < b.created_at ? 1 : -1;

/**
 * The rows after the page that begins at `cursor` was read.
 *
 * A page tells everything between where it begins and its last item: what was known there and is not in it is gone, as
 * its status has changed. Where so much is new that the first page does not reach what was known, all of that is
 * forgotten, so that there never is a gap.
 */
export function merge(rows: Rows, cursor: string | null, page: Page<Listed>): Rows {
  const at = rows.pages.findIndex((known) => known.cursor === cursor);
  const begins = rows.pages[at]?.before;
  if (begins === undefined) return rows;
  const oldest = page.items.at(-1)?.created_at ?? begins;
  const gap = at === 0 && page.cursor !== null && !rows.items.some((item) => item.created_at >= oldest);
  const told = new Set(page.items.map((item) => item.id));
  const here = (item: Listed) => item.created_at < begins && (page.cursor === null || item.created_at > oldest);
  const kept = gap ? [] : rows.items.filter((item) => !told.has(item.id) && !here(item));
  const items = [...kept, ...page.items].sort(newestFirst);
  const before = rows.pages.slice(0, at + 1);
  if (page.cursor === null) return { items, pages: before, done: true };
  const after = gap ? [] : rows.pages.slice(at + 2);
  return {
    items,
    pages: [...before, { cursor: page.cursor, before: oldest }, ...after],
    done: rows.done && !gap && at + 1 < rows.pages.length,
  };
}

/** The cursor of the page that an item belongs to. */
export function pageOf(rows: Rows, item: Listed | undefined): string | null {
  return rows.pages.findLast((page) => item !== undefined && item.created_at < page.before)?.cursor ?? null;
}
