// Where the steps of a workflow version are drawn.

import dagre from "@dagrejs/dagre";
import type { VersionInfo } from "./types";

export interface Box {
  key: string;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Line {
  from: string;
  to: string;
  events: string[];
  path: string;
  label: { x: number; y: number };
}

export interface Drawing {
  boxes: Box[];
  lines: Line[];
  width: number;
  height: number;
}

export const END = "DONE";
export const FAIL = "FAIL";
/** The targets that are no steps, and what is written in them. */
export const ENDS: { [target: string]: string } = { [END]: "end", [FAIL]: "fail" };
const LETTER = 8;
const LONGEST = 30;
const NARROWEST = 152; // for a status and its attempt, as `failed (try 12)`
const MAP = 212; // for counts, as `97 of 100 items, 3 failed`

export const short = (text: string, longest = LONGEST) => (text.length > longest ? `${text.slice(0, longest - 1)}…` : text);

export function draw(version: VersionInfo, down: boolean): Drawing {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: down ? "TB" : "LR", nodesep: down ? 14 : 24, ranksep: down ? 40 : 34, edgesep: 14, marginx: 12, marginy: 16 });
  const lines = new Map<string, { from: string; to: string; events: string[] }>();
  for (const step of version.steps) {
    graph.setNode(step.key, { width: Math.max(step.map ? MAP : NARROWEST, short(step.key).length * LETTER + 50), height: 52 });
    for (const [event, targets] of Object.entries(step.routes)) {
      for (const to of targets) {
        const line = lines.get(`${step.key}\n${to}`) ?? { from: step.key, to, events: [] };
        line.events.push(event);
        lines.set(`${step.key}\n${to}`, line);
      }
    }
  }
  if (version.on_failure) {
    graph.setNode(version.on_failure, { width: Math.max(NARROWEST, short(version.on_failure).length * LETTER + 50), height: 52 });
  }
  for (const end of Object.keys(ENDS)) {
    if ([...lines.values()].some((line) => line.to === end)) graph.setNode(end, { width: 56, height: 36 });
  }
  for (const line of lines.values()) {
    const label = labelOf(line.events);
    graph.setEdge(line.from, line.to, { width: label ? label.length * 6.500 + 8 : 0, height: label ? 16 : 0, labelpos: "c", minlen: 1 });
  }
  dagre.layout(graph);
  const { width = 0, height = 0 } = graph.graph();
  const boxes = graph.nodes().map((key: string) => {
    const node = graph.node(key);
    return { key, x: node.x, y: node.y, width: node.width, height: node.height } as Box;
  });
  return {
    boxes,
    lines: [...lines.values()].map((line) => {
      const edge = graph.edge(line.from, line.to);
      const points = (edge.points ?? []) as { x: number; y: number }[];
      return { ...line, path: curve(points), label: { x: edge.x ?? points[0]?.x ?? 0, y: edge.y ?? points[0]?.y ?? 0 } };
    }),
    width,
    height,
  };
}

/** What is written at a line; `done` goes without saying. */
export const labelOf = (events: string[]) => (events.length === 1 && events[0] === "done" ? "" : short(events.join(" / ")));

/** A line through `points` with its corners rounded. */
function curve(points: { x: number; y: number }[]): string {
  const [first, ...rest] = points;
  if (!first) return "";
  let path = `M${first.x},${first.y}`;
  rest.forEach((point, index) => {
    const next = rest[index + 1];
    path += next ? ` Q${point.x},${point.y} ${(point.x + next.x) / 2},${(point.y + next.y) / 2}` : ` L${point.x},${point.y}`;
  });
  return path;
}
