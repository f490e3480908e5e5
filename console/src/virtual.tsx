// A list that only makes the rows which are seen, so that ten thousand cost what fifty do.

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

interface Props {
  count: number;
  height: number;
  label: string;
  row: (index: number) => ComponentChildren;
  class?: string;
  /** Told which rows are seen, the last one excluded. */
  onSeen?: (from: number, to: number) => void;
  /** A row to bring into view. */
  show?: number | undefined;
}

const AHEAD = 8;

export function VirtualList({ count, height, label, row, class: name = "", onSeen, show }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    measure();
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", measure);
    };
  }, []);
  useEffect(() => {
    const element = box.current;
    if (show === undefined || show < 0 || !element) return;
    if (show * height < element.scrollTop) element.scrollTop = show * height;
    const below = (show + 1) * height - element.clientHeight;
    if (below > element.scrollTop) element.scrollTop = below;
  }, [show, height]);
  const first = Math.floor(view.top / height);
  const from = Math.max(0, Math.min(first - AHEAD, count));
  const to = Math.min(count, Math.ceil((view.top + view.height) / height) + AHEAD);
  useEffect(() => onSeen?.(from, to), [from, to, count, onSeen]);
  const rows = [];
  for (let index = from; index < to; index++) rows.push(row(index));
  return (
    <div ref={box} class={`virtual ${name}`} role="rowgroup" aria-label={label} tabIndex={-1}>
      <div style={{ height: `${count * height}px` }} role="presentation">
        <div style={{ transform: `translateY(${from * height}px)` }} role="presentation">
          {rows}
        </div>
      </div>
    </div>
  );
}
