// The web page of the daemon: requests the state of all services every second, and the map and the
// size histogram of the selected service every five seconds. A hidden or paused page requests
// nothing.
//
//   api                        the contract with the server: JSON of /api
//   fetch, history, format     requests; the last minutes; numbers as text
//   service_view               one service: the sections below
//   tiles, live_chart          figures; charts over time
//   memory, sizes, events      where memory goes; histogram of stored sizes; evictions, refusals
//   memory_map, map_cells, map_legend   the page frames, their descriptions and their colours
//   what_if, hit_rates         comparison with another codec or pool; other limits and policies
//   knobs                      settings
//   dom, colours               elements and colours
//
// Concurrency: one page, one timer; the server answers several pages with the same walk. Limits:
// five minutes of history; a request ends after eight seconds, a comparison after ninety;
// a study of hit rates runs in the daemon for an hour at most.
import { formatBytes } from "../base/units.ts";
import type { State } from "./api.ts";
import { byId, el, setText } from "./dom.ts";
import { AnswerError, ask } from "./fetch.ts";
import { span } from "./format.ts";
import { Knobs } from "./knobs.ts";
import { useStyleColours } from "./live_chart.ts";
import { ServiceView } from "./service_view.ts";

const EVERY_MS = 1000;
/** The pause between requests while the server does not answer. */
const RETRY_MS = 3000;
/** Requests of the state for one of the map and the sizes. */
const WALK_EVERY = 5;

const status = byId("status");
const gone = byId("gone");
const tabs = byId("tabs");
const main = byId("service");
const pause = byId<HTMLButtonElement>("pause");

const views = new Map<string, ServiceView>();
/** The services, with their setup, that the views were made for. */
let made = "";
let shown = "";
let isPaused = false;
let looks = 0;
let answeredAt: number | undefined;
let knobs: Knobs | undefined;

function say(text: string, kind: "live" | "bad" | ""): void {
  setText(status, text);
  status.className = `status ${kind}`;
}

function show(name: string): void {
  shown = name;
  for (const view of views.values()) {
    const isShown = view.name === name;
    view.element.hidden = !isShown;
    view.show(isShown);
  }
  for (const tab of tabs.querySelectorAll<HTMLButtonElement>("[role=tab]")) {
    const isSelected = tab.dataset["service"] === name;
    tab.setAttribute("aria-selected", String(isSelected));
    tab.tabIndex = isSelected ? 0 : -1;
  }
}

/** Makes a view for each service, and makes them again if the daemon's services change. */
function makeViews({ services, mayChange }: State): void {
  const names = services.map((service) => service.name);
  const what = JSON.stringify(services.map(({ name, setup }) => [name, setup]));
  if (what === made) return;
  made = what;
  views.clear();
  for (const picture of services) views.set(picture.name, new ServiceView(picture));
  main.replaceChildren(...[...views.values()].map((view) => view.element));
  if (services.length === 0) {
    main.replaceChildren(el("p", { class: "empty" }, "The daemon runs no service."));
  }
  if (mayChange) {
    knobs ??= new Knobs();
    main.append(knobs.element);
  }
  tabs.hidden = names.length < 2;
  tabs.replaceChildren(...names.map((name) => tabOf(name, names)));
  const asked = decodeURIComponent(location.hash.slice(1));
  show(names.includes(asked) ? asked : (names[0] ?? ""));
}

function tabOf(name: string, names: readonly string[]): HTMLElement {
  const tab = el("button", { type: "button", role: "tab", "data-service": name }, name);
  const choose = (other: string) => {
    history.replaceState(null, "", `#${encodeURIComponent(other)}`);
    show(other);
    void walk();
  };
  tab.addEventListener("click", () => choose(name));
  tab.addEventListener("keydown", ({ key }) => {
    const step = key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    const next = names[(names.indexOf(name) + step + names.length) % names.length]!;
    choose(next);
    tabs.querySelector<HTMLButtonElement>("[aria-selected=true]")?.focus();
  });
  return tab;
}

function take(state: State): void {
  answeredAt = Date.now();
  makeViews(state);
  for (const picture of state.services) views.get(picture.name)?.add(state.nowMs, picture);
  const version = state.version === "" ? "" : `${state.version}, `;
  const memory = `${formatBytes(state.residentBytes)} resident memory`;
  const { internalErrors } = state;
  const errors = internalErrors === 0 ? "" : `, internal errors: ${internalErrors}`;
  setText(byId("process"), `${version}up ${span(state.uptimeMs)}, ${memory}${errors}`);
  say("live", "live");
  gone.hidden = true;
  document.body.classList.remove("is-old");
}

/** Shows that the server does not answer, or its error. */
function miss(error: unknown): void {
  document.body.classList.add("is-old");
  const when =
    answeredAt === undefined
      ? "There are no figures yet"
      : `The figures are from ${new Date(answeredAt).toLocaleTimeString()}`;
  const isRefused = error instanceof AnswerError;
  say(isRefused ? "refused" : "disconnected", "bad");
  const what = isRefused
    ? `The server refuses the request: ${error.message}`
    : "The server does not answer";
  setText(gone, `${what}. ${when}; retrying every ${RETRY_MS / 1000} seconds.`);
  gone.hidden = false;
}

/** Requests the map and the sizes of the selected service. */
async function walk(): Promise<void> {
  try {
    await views.get(shown)?.refresh();
  } catch {
    // A busy server is asked again later, and `look` notices a server that is gone.
  }
}

async function look(): Promise<void> {
  let next = EVERY_MS;
  const begun = performance.now();
  if (!document.hidden && !isPaused) {
    try {
      take(await ask<State>("/api/state"));
      if (looks++ % WALK_EVERY === 0) await walk();
    } catch (error) {
      miss(error);
      next = RETRY_MS;
      looks = 0;
    }
  }
  setTimeout(look, Math.max(100, next - (performance.now() - begun)));
}

pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
  setText(pause, isPaused ? "Resume" : "Pause");
  if (isPaused) say("paused", "");
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  useStyleColours();
  for (const view of views.values()) view.redraw();
});
useStyleColours();
void look();
