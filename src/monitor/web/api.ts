// What is to be had below /api: which service is asked for what, and how often it may be. Answers
// that take a walk are computed once for all who ask at the same time, and a what-if, which takes a
// processor for some hundred milliseconds, is done one at a time with a rest in between.
import { performance } from "node:perf_hooks";
import { ZcacheError } from "../../base/errors.ts";
import type { Knob } from "../../base/knob.ts";
import type { KnobState, State } from "../../dashboard/api.ts";
import type { InternalErrors } from "../../node/internal_errors.ts";
import type { Monitor } from "../monitor.ts";
import type { Refusal } from "./guard.ts";

export type Answer = { readonly value: unknown } | { readonly refusal: Refusal };

/** A picture is good for so long: more viewers cost no more. */
const STATE_MS = 200;
/** Walks under way, of all services; and those that have just ended, with them. */
const WALKS_MAX = 4;
const WALKS_KEPT_MAX = 16;
const WALK_MS = 400;
/** Between the end of one what-if and the start of the next. */
const WHAT_IF_REST_MS = 1000;
/** More cells are no more than a screen shows; a map of them has 128 KiB. */
const CELLS_MAX = 16_384;
const CELLS_DEFAULT = 4096;
const FRAMES_MAX = 2 ** 20;

export interface ApiParts {
  readonly monitors: readonly Monitor[];
  readonly knobs: readonly Knob[];
  readonly version: string;
  /** Whether knobs are to be had at all. */
  readonly mayChange: boolean;
  /** Of the daemon itself, for the count. */
  readonly errors: InternalErrors;
}

interface Walk {
  readonly answer: Promise<unknown>;
  endedAt: number;
}

export class Api {
  readonly #monitors: readonly Monitor[];
  readonly #knobs: readonly Knob[];
  readonly #version: string;
  readonly #mayChange: boolean;
  readonly #errors: InternalErrors;
  #state: State | undefined;
  #stateAt = Number.NEGATIVE_INFINITY;
  /** The last of each service and kind, under way or done. */
  readonly #walks = new Map<string, Walk>();
  #isComparing = false;
  #comparedAt = Number.NEGATIVE_INFINITY;

  constructor({ monitors, knobs, version, mayChange, errors }: ApiParts) {
    this.#errors = errors;
    this.#monitors = monitors;
    this.#knobs = knobs;
    this.#version = version;
    this.#mayChange = mayChange;
  }

  /** All services at this moment, or a fifth of a second ago. */
  state(): State {
    const now = performance.now();
    if (this.#state === undefined || now - this.#stateAt >= STATE_MS) {
      this.#stateAt = now;
      this.#state = {
        version: this.#version,
        nowMs: Date.now(),
        uptimeMs: process.uptime() * 1000,
        mayChange: this.#mayChange,
        residentBytes: process.memoryUsage.rss(),
        internalErrors: this.#errors.count,
        services: this.#monitors.map((one) => one.picture()),
      };
    }
    return this.#state;
  }

  /**
   * @returns undefined if there is no such thing
   * @throws ZcacheError ERR_OPTION for a parameter that can't be
   */
  async get({ pathname, searchParams }: URL): Promise<Answer | undefined> {
    if (pathname === "/api/state") return { value: this.state() };
    const match = /^\/api\/services\/([^/]+)\/(map|sizes|choices|what-if)$/.exec(pathname);
    const service = this.#monitors.find((one) => one.name === match?.[1]);
    if (match === null || service === undefined) return undefined;
    switch (match[2]) {
      case "map":
        return await this.#map(service, searchParams);
      case "sizes":
        return await this.#walk(`${service.name} sizes`, "", () => service.sizes());
      case "choices":
        return { value: service.choices() };
      default:
        return await this.#whatIf(service, searchParams);
    }
  }

  knobs(): KnobState[] {
    return this.#knobs.map((knob) => ({
      name: knob.name,
      value: knob.get(),
      describe: knob.describe,
      writable: knob.set !== undefined,
    }));
  }

  /**
   * @param body JSON with a name and a value
   * @throws ZcacheError ERR_OPTION: it is no such thing, or the knob does not take it
   */
  setKnob(body: string): KnobState {
    const { name, value } = parseSetting(body);
    const knob = this.#knobs.find((one) => one.name === name);
    if (knob?.set === undefined) {
      const settable = this.#knobs.filter((one) => one.set !== undefined).map((one) => one.name);
      const message = `"${name}" can't be set; what can be: ${settable.join(", ")}`;
      throw new ZcacheError("ERR_OPTION", message);
    }
    knob.set(value);
    return { name, value: knob.get(), describe: knob.describe, writable: true };
  }

  #map(service: Monitor, parameters: URLSearchParams): Promise<Answer> {
    const from = wholeOf(parameters, "from", 0, 0, FRAMES_MAX);
    const to = wholeOf(parameters, "to", FRAMES_MAX, 1, FRAMES_MAX);
    const cells = wholeOf(parameters, "cells", CELLS_DEFAULT, 1, CELLS_MAX);
    if (from >= to) throw new ZcacheError("ERR_OPTION", `from ${from}: less than to, ${to}`);
    const what = `${from} ${to} ${cells}`;
    return this.#walk(`${service.name} map`, what, () => service.frames(from, to, cells));
  }

  /** Does some work, unless the same was asked for just now. */
  async #walk(kind: string, what: string, work: () => Promise<unknown>): Promise<Answer> {
    const now = performance.now();
    for (const [key, walk] of this.#walks) {
      if (now - walk.endedAt > WALK_MS) this.#walks.delete(key);
    }
    const key = `${kind} ${what}`;
    let walk = this.#walks.get(key);
    if (walk === undefined) {
      const running = [...this.#walks.values()].filter((one) => one.endedAt > now).length;
      const isFull = running >= WALKS_MAX || this.#walks.size >= WALKS_KEPT_MAX;
      if (isFull) return tooMany("others are being answered");
      const begun: Walk = { answer: work(), endedAt: Number.POSITIVE_INFINITY };
      this.#walks.set(key, begun);
      const end = () => {
        begun.endedAt = performance.now();
      };
      begun.answer.then(end, () => this.#walks.delete(key));
      walk = begun;
    }
    return { value: await walk.answer };
  }

  async #whatIf(service: Monitor, parameters: URLSearchParams): Promise<Answer> {
    const codec = parameters.get("codec") ?? "";
    const pool = parameters.get("pool") ?? "";
    if (this.#isComparing) return tooMany("another comparison is under way");
    if (performance.now() - this.#comparedAt < WHAT_IF_REST_MS) {
      return tooMany("a comparison has just ended");
    }
    this.#isComparing = true;
    let isDone = true;
    try {
      return { value: await service.whatIf(codec, pool) };
    } catch (error) {
      // Who names what there is no choice of has cost nothing.
      isDone = !(error instanceof ZcacheError && error.code === "ERR_OPTION");
      throw error;
    } finally {
      this.#isComparing = false;
      if (isDone) this.#comparedAt = performance.now();
    }
  }
}

function tooMany(why: string): Answer {
  const error = `${why}; try again in a second`;
  return { refusal: { status: 429, error, headers: { "retry-after": "1" } } };
}

/** @throws ZcacheError ERR_OPTION naming the parameter */
function wholeOf(
  parameters: URLSearchParams,
  name: string,
  otherwise: number,
  min: number,
  max: number,
): number {
  const text = parameters.get(name);
  if (text === null) return otherwise;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new ZcacheError("ERR_OPTION", `${name} "${text}": allowed are ${min} to ${max}`);
}

function parseSetting(body: string): { name: string; value: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch (cause) {
    throw new ZcacheError("ERR_OPTION", "this is no JSON", { cause });
  }
  const { name, value } = (parsed ?? {}) as { name?: unknown; value?: unknown };
  if (typeof name === "string" && typeof value === "string") return { name, value };
  throw new ZcacheError("ERR_OPTION", 'send { "name": …, "value": … }, both text');
}
