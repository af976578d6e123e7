// The control protocol: one JSON value to a line, a request and its reply. For `zcache ctl` and
// `zcache stats`, and whoever else can write a line to a Unix socket.
//
//   {"list": true}                       → {"ok": {"mem_limit": {"value": …, "describe": …, …}}}
//   {"get": ["mem_limit"]}               → {"ok": {"mem_limit": "2147483648"}}
//   {"set": {"mem_limit": "1G"}}         → {"ok": {"mem_limit": "1073741824"}}
//   {"stats": true}                      → {"ok": {…}}
//   {"state": true}                      → {"ok": {…}}, as ../web/api.ts has it
//   anything else, or what can't be done → {"error": "why", "code": "ERR_OPTION"}

/** A line may have so many bytes. */
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

/** A request's line; null if it is none. */
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

/** A reply's line; null if it is none. */
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
