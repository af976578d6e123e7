// The control protocol: a request and its reply are one line of JSON each. `zcache ctl`, `stats`
// and `top` speak it, and any program that can write a line to a Unix socket.
//
//   {"list": true}                       → {"ok": {"mem_limit": {"value": …, "describe": …, …}}}
//   {"get": ["mem_limit"]}               → {"ok": {"mem_limit": "2147483648"}}
//   {"set": {"mem_limit": "1G"}}         → {"ok": {"mem_limit": "1073741824"}}
//   {"stats": true}                      → {"ok": {…}}
//   {"state": true}                      → {"ok": {…}}, a State of dashboard/api.ts
//   any other line, or a failure         → {"error": "why", "code": "ERR_OPTION"}

/** The longest line. */
export const LINE_BYTES_MAX = 64 * 1024;

export type ControlRequest =
  | { readonly list: true }
  | { readonly get: readonly string[] }
  | { readonly set: Readonly<Record<string, string>> }
  | { readonly stats: true }
  | { readonly state: true };

export type ControlReply =
  | { readonly ok: Readonly<Record<string, unknown>> }
  | { readonly error: string; readonly code: string };

/** Parses the line of a request; null if it is not one. */
export function parseControlRequest(line: string): ControlRequest | null {
  const value = objectOf(line);
  if (value === null || Object.keys(value).length !== 1) return null;
  const { list, get, set, stats, state } = value;
  if (list === true) return { list };
  if (stats === true) return { stats };
  if (state === true) return { state };
  if (Array.isArray(get) && get.every((name) => typeof name === "string")) return { get };
  if (!isRecord(set)) return null;
  const pairs = Object.entries(set);
  return pairs.every(([, text]) => typeof text === "string")
    ? { set: Object.fromEntries(pairs) as Record<string, string> }
    : null;
}

/** Parses the line of a reply; null if it is not one. */
export function parseControlReply(line: string): ControlReply | null {
  const value = objectOf(line);
  if (value === null) return null;
  const { ok, error, code } = value;
  if (isRecord(ok)) return { ok };
  return typeof error === "string" && typeof code === "string" ? { error, code } : null;
}

export function controlLine(message: ControlRequest | ControlReply): string {
  return `${JSON.stringify(message)}\n`;
}

function objectOf(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
