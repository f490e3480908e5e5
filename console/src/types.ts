// What the server answers: the API's JSON.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Members = { [name: string]: Json };

export interface StepInfo {
  key: string;
  waits: boolean;
  events: string[];
  /** Of a step that runs again. */
  rounds?: { at_most: number; within_seconds?: number; again_on?: string[] };
  /** Its result is left to the next commit. */
  checkpoint?: false;
  routes: { [event: string]: string[] };
  /** Of a step that is a workflow. */
  child?: { workflow: string; detached: boolean };
  /** Of a step that runs another for each of several items. */
  map?: { step: string; concurrency: number; tolerate: number | string; events: string[] };
}

export interface VersionInfo {
  version: number;
  start: string;
  /** What a fork may do: anything, nothing that replaces data, or there is no fork. */
  forks?: "any" | "unchanged" | "none";
  steps: StepInfo[];
  /** The step that runs before an instance ends as failed. */
  on_failure?: string;
}

/** Which events from outside start and resume instances. */
export interface TriggerInfo {
  on: "eventbridge" | "s3" | "sns" | "message";
  to: string;
  source?: string[];
  detail_type?: string[];
  bucket?: string[];
  topic?: string[];
  prefix?: string;
  suffix?: string;
}

export interface WorkflowInfo {
  name: string;
  key: string;
  current: number;
  /** An older deployment does not say. */
  triggers?: TriggerInfo[];
  /** Only while it is paused. */
  paused?: { by: string; at: string; reason: string };
  versions: VersionInfo[];
}

export interface About {
  place: string;
  by: string;
  workflows: WorkflowInfo[];
}

export interface Failure {
  type: string;
  message: string;
  trace?: string;
}

/** Data that were given to a fork, by whom, and where that fork began. */
export interface Replaced {
  by?: string;
  forked_from: string;
}

/** One item of a map. */
export interface ItemView {
  key: string;
  index: number;
  status: string;
  attempt?: number;
  item?: Json;
  event?: string;
  results?: Json;
  error?: Failure;
  /** Where it is a workflow, its instance, and the status of that. */
  child?: string;
  child_status?: string;
}

export interface StepView {
  status: string;
  /** Of a map: how many items it has, and how many of them are in which status. */
  progress?: { [status: string]: number };
  attempt?: number;
  event?: string;
  results?: Json;
  started_at?: string;
  ended_at?: string;
  retry_at?: string;
  deadline?: string;
  accepts?: string[];
  error?: Failure;
  replaced?: Replaced;
  /** Where its event led to FAIL: the reason, or nothing. */
  fail?: string;
  /** Of a step that runs again: the round that it is at, and how many there are at most. */
  round?: number;
  rounds?: number;
  carry?: Json;
  alone?: boolean;
  in_line?: number;
  /** The instance that it started. */
  child?: string;
  /** What it waits for, in a sentence. */
  why?: string;
  large?: { [name: string]: number };
}

export interface Listed {
  id: string;
  key: string;
  workflow: string;
  version: number;
  generation: number;
  status: string;
  created_at: string;
  updated_at: string;
  tags?: string[];
  /** Of a child: the top of its tree, and the way from there. */
  root?: string;
  path?: string;
}

export interface Instance extends Listed {
  metadata?: Json;
  context?: Json;
  output?: Json;
  /** When it fails unless it has ended before. */
  deadline?: string;
  steps?: { [key: string]: StepView };
  accepts?: { [key: string]: string[] };
  wake_at?: string;
  cancel_requested?: string;
  paused?: string;
  /** It goes on with its workflow. */
  paused_by_workflow?: boolean;
  forked_from?: string;
  forked_by?: string;
  parent?: string;
  /** The instance at which it is cancelled, redriven and forked, where that is another. */
  steered_at?: string;
  context_replaced?: Replaced;
  redrive?: { runs_again?: string[]; anew?: string[]; waits_again?: string[]; waits_on?: string[]; undoes?: string[]; kept?: string[] };
  cancel_undoes?: string[];
  parked?: string;
  /** What holds it as a whole, in sentences. */
  why?: string[];
  error?: Failure;
  large?: { [name: string]: number };
}

export interface LogEvent {
  type: string;
  step?: string;
  /** The item of a map that it is about. */
  item?: string;
  steps?: string[];
  event?: string;
  taken?: string[];
  attempt?: number;
  started_at?: string;
  /** Where it ended before its commit. */
  ended_at?: string;
  retry_at?: string;
  due_at?: string;
  round?: number;
  next_at?: string;
  start_at?: string;
  error?: Failure;
  failed?: Failure;
  fail?: string;
  by?: string;
  by_source?: string;
  large?: { [name: string]: number };
  [name: string]: unknown;
}

export interface Entry {
  sequence: number;
  at: string;
  events: LogEvent[];
}

export interface Page<T> {
  items: T[];
  cursor: string | null;
}

export interface CountsInfo {
  workflows: { name: string; counts: { [status: string]: number } }[];
  statuses: string[];
  most: number;
}

export const STATUSES = ["pending", "running", "waiting", "completed", "failed", "cancelled", "compensating"];
export const CLOSED = new Set(["completed", "failed", "cancelled", "undone"]);

/** Who holds a permit of a limit, or stands in line for one. */
export interface Place {
  id: string;
  /** Nothing where the instance as a whole has it. */
  step?: string;
  since: string;
  root?: string;
  path?: string;
}

export interface LimitInfo {
  limit: string;
  number?: number;
  /** What the newest deployment says. */
  declared?: number;
  /** What an operator has set. */
  set_to?: number;
  changed_by?: string;
  changed_at?: string;
  held: number;
  in_line: number;
  more?: boolean;
  waits_since?: string;
  /** Of a rate, which has no permits. */
  kind?: "rate";
  /** When all places of a rate are free again. */
  reserved_until?: string;
  /** The time in which `number` may start, and how many of them at once. */
  period_seconds?: number;
  burst?: number;
  declared_period_seconds?: number;
  declared_burst?: number;
  /** When the next may start; at once, where that has passed. */
  next_at?: string;
  reason?: string;
  holders?: Place[];
  line?: Place[];
}

export interface ScheduleInfo {
  id: string;
  schedule: string;
  cron: string;
  timezone: string;
  overlap: string;
  catch_up: number;
  jitter_ms: number;
  declared_by: "code" | "operator";
  next_at?: string[];
  paused?: { reason: string; by: string; at: string; owner: string };
  last?: { id: string; scheduled_for: string };
  queued_for?: string;
  skipped: number;
  skip?: { scheduled_for: string; reason: string };
}
