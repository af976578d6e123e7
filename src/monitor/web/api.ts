// The JSON API below /api: routes requests to the monitors of services and limits their cost. A
// walk through a store is done once for all clients that ask at the same time; what-if comparisons,
// which take a processor for some hundred milliseconds, run one at a time with a rest in between.
import { performance } from "node:perf_hooks";
import { ZcacheError } from "../../base/errors.ts";
import { isWritable, type Knob, useKnob } from "../../base/knob.ts";
import type { KnobState, State } from "../../dashboard/api.ts";
import type { InternalErrors } from "../../node/internal_errors.ts";
import { SECONDS_MAX, SECONDS_MIN } from "../hit_rates.ts";
import type { Monitor } from "../monitor.ts";
import type { Refusal } from "./guard.ts";

export type Answer = { readonly value: unknown } | { readonly refusal: Refusal };

/** How long a state is reused, so that more viewers cost no more. */
const STATE_MS = 200;
/** Walks that run at a time, of all services; and results that are kept, running walks included. */
const WALKS_MAX = 4;
const WALKS_KEPT_MAX = 16;
const WALK_MS = 400;
/** The rest between the end of one comparison and the start of the next. */
const WHAT_IF_REST_MS = 1000;
/** A screen shows no more cells; a map with so many has 128 KiB. */
const CELLS_MAX = 16_384;
const CELLS_DEFAULT = 4096;
const FRAMES_MAX = 2 ** 20;

export interface ApiParts {
  readonly monitors: readonly Monitor[];
  readonly knobs: readonly Knob[];
  readonly version: string;
  /** Whether there are knobs at all. */
  readonly mayChange: boolean;
  /** Counts the daemon's own unexpected errors. */
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
  /** Running walks and recent results, by service and request. */
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

  /** The state of all services, at most a fifth of a second old. */
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
   * Answers a GET request.
   * @returns undefined for an unknown path
   * @throws ZcacheError ERR_OPTION for an invalid parameter
   */
  async get({ pathname, searchParams }: URL): Promise<Answer | undefined> {
    if (pathname === "/api/state") return { value: this.state() };
    const match = /^\/api\/services\/([^/]+)\/(map|sizes|choices|what-if|hit-rates)$/.exec(
      pathname,
    );
    const service = this.#monitors.find((one) => one.name === match?.[1]);
    if (match === null || service === undefined) return undefined;
    switch (match[2]) {
      case "map":
        return await this.#map(service, searchParams);
      case "sizes":
        return await this.#walk(`${service.name} sizes`, "", () => service.sizes());
      case "choices":
        return { value: service.choices() };
      case "hit-rates":
        return this.#hitRates(service, searchParams);
      default:
        return await this.#whatIf(service, searchParams);
    }
  }

  knobs(): KnobState[] {
    return this.#knobs.map((knob) => ({
      name: knob.name,
      value: knob.get(),
      describe: knob.describe,
      writable: isWritable(knob),
    }));
  }

  /**
   * Sets a knob, or runs a command of it.
   * @param body JSON with a name and a value
   * @throws ZcacheError ERR_OPTION: the body, the name or the value is invalid
   */
  async setKnob(body: string): Promise<KnobState> {
    const { name, value } = parseSetting(body);
    const knob = this.#knobs.find((one) => one.name === name);
    if (knob === undefined || !isWritable(knob)) {
      const settable = this.#knobs.filter(isWritable).map((one) => one.name);
      const message = `"${name}" can't be set; settings are ${settable.join(", ")}`;
      throw new ZcacheError("ERR_OPTION", message);
    }
    const result = await useKnob(knob, value);
    return { name, value: result, describe: knob.describe, writable: true };
  }

  #map(service: Monitor, parameters: URLSearchParams): Promise<Answer> {
    const from = wholeOf(parameters, "from", 0, 0, FRAMES_MAX);
    const to = wholeOf(parameters, "to", FRAMES_MAX, 1, FRAMES_MAX);
    const cells = wholeOf(parameters, "cells", CELLS_DEFAULT, 1, CELLS_MAX);
    if (from >= to) throw new ZcacheError("ERR_OPTION", `from ${from} must be less than to ${to}`);
    const what = `${from} ${to} ${cells}`;
    return this.#walk(`${service.name} map`, what, () => service.frames(from, to, cells));
  }

  /** Starts a walk, or joins the same walk if it runs or has just ended. */
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
      if (isFull) return tooMany("too many requests are running");
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

  /** The last study; with a number of seconds, starts one, unless the service has one running. */
  #hitRates(service: Monitor, parameters: URLSearchParams): Answer {
    if (!parameters.has("seconds")) return { value: service.hitRates() };
    const seconds = wholeOf(parameters, "seconds", 0, SECONDS_MIN, SECONDS_MAX);
    const others = this.#monitors.filter((one) => one !== service);
    if (others.some((other) => other.hitRates().state === "running")) {
      return tooMany("a study of another service is running");
    }
    return { value: service.hitRates(seconds) };
  }

  async #whatIf(service: Monitor, parameters: URLSearchParams): Promise<Answer> {
    const codec = parameters.get("codec") ?? "";
    const pool = parameters.get("pool") ?? "";
    if (this.#isComparing) return tooMany("another comparison is running");
    if (performance.now() - this.#comparedAt < WHAT_IF_REST_MS) {
      return tooMany("a comparison has just ended");
    }
    this.#isComparing = true;
    let isDone = true;
    try {
      return { value: await service.whatIf(codec, pool) };
    } catch (error) {
      // A request that names an unknown codec or pool has cost nothing.
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
  throw new ZcacheError("ERR_OPTION", `${name} "${text}" is not a number from ${min} to ${max}`);
}

function parseSetting(body: string): { name: string; value: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch (cause) {
    throw new ZcacheError("ERR_OPTION", "the body is not JSON", { cause });
  }
  const { name, value } = (parsed ?? {}) as { name?: unknown; value?: unknown };
  if (typeof name === "string" && typeof value === "string") return { name, value };
  throw new ZcacheError("ERR_OPTION", 'send { "name": …, "value": … }, both strings');
}
