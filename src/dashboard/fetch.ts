// Requests to the server. An answer other than success becomes an error with the server's message.

const ANSWER_MS = 8000;

export class AnswerError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface Asking {
  readonly method?: "POST";
  readonly token?: string;
  readonly body?: unknown;
  /** How long the answer may take, in ms. */
  readonly waitMs?: number;
}

/** @throws AnswerError for an error answer; TypeError or DOMException if the server is silent */
export async function ask<T>(path: string, asking: Asking = {}): Promise<T> {
  const { method = "GET", token, body, waitMs = ANSWER_MS } = asking;
  const headers = new Headers();
  if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
  if (body !== undefined) headers.set("content-type", "application/json");
  const response = await fetch(path, {
    ...{ method, headers, cache: "no-store", signal: AbortSignal.timeout(waitMs) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as T & { readonly error?: string };
  if (!response.ok) throw new AnswerError(response.status, answer.error ?? response.statusText);
  return answer;
}
