// Times and durations as people read them.

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** So many of something: 1 entry, 12 items. */
export function plural(number: number, noun: string): string {
  if (number === 1) return `1 ${noun}`;
  return `${number} ${noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`}`;
}

export function ms(time: string | undefined): number {
  return time ? Date.parse(time) : Number.NaN;
}

export function exact(time: string): string {
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? time : `${day.format(at)}, ${clock.format(at)}`;
}

export function timeOfDay(time: string): string {
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? time : `${clock.format(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** 850 ms, 2.4 s, 3 min 20 s, 5 h 12 min, 2 d 4 h. */
export function duration(milliseconds: number): string {
  if (!Number.isFinite(milliseconds)) return "";
  const all = Math.max(0, Math.round(milliseconds));
  if (all < 1000) return `${all} ms`;
  const seconds = all / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const units: [number, string][] = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const whole = Math.round(seconds);
  const first = units.findIndex(([size]) => whole >= size);
  const [size, name] = units[first] ?? [1, "s"];
  const rest = Math.floor((whole % size) / (units[first + 1]?.[0] ?? 1));
  const second = units[first + 1];
  return `${Math.floor(whole / size)} ${name}${second && rest ? ` ${rest} ${second[1]}` : ""}`;
}

export function ago(time: string, now: number): string {
  const passed = now - ms(time);
  if (!Number.isFinite(passed)) return time;
  return passed < 1500 ? "just now" : `${roughly(passed)} ago`;
}

export function until(time: string, now: number): string {
  const left = ms(time) - now;
  return left <= 0 ? "due now" : `in ${roughly(left)}`;
}

function roughly(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 2 * 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export function size(characters: number): string {
  return characters < 1e6 ? `${Math.round(characters / 1000)} KB` : `${(characters / 1e6).toFixed(1)} MB`;
}
