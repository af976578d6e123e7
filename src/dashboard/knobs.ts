// Settings that can be changed while the daemon runs. The section exists only if the operator has
// set a token, and works only with that token, which the page keeps in its memory alone.
import type { KnobState } from "./api.ts";
import { byId, el, setText } from "./dom.ts";
import { ask } from "./fetch.ts";

export class Knobs {
  readonly element: HTMLElement;
  readonly #token = el("input", { type: "password", autocomplete: "off", id: "token" });
  readonly #list = el("div");
  readonly #message = el("p", { role: "status" });

  constructor() {
    const form = el(
      "form",
      { class: "controls" },
      el("label", {}, "Token", this.#token),
      el("button", { type: "submit" }, "Show settings"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#load();
    });
    this.element = el(
      "section",
      { class: "wide", id: "knobs" },
      el("h2", {}, "Settings"),
      form,
      this.#message,
      this.#list,
    );
  }

  async #load(): Promise<void> {
    await this.#try(async () => {
      const knobs = await ask<readonly KnobState[]>("/api/knobs", { token: this.#token.value });
      this.#list.replaceChildren(...knobs.map((knob) => this.#rowOf(knob)));
      return knobs.length === 0 ? "This daemon has no settings that can be changed." : "";
    });
  }

  #rowOf(knob: KnobState): HTMLElement {
    const input = el("input", { value: knob.value, disabled: !knob.writable });
    const button = el("button", { type: "submit", disabled: !knob.writable }, "Set");
    const form = el("form", { class: "controls" }, el("label", {}, knob.name, input), button);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#try(async () => {
        const body = { name: knob.name, value: input.value };
        const token = this.#token.value;
        const set = await ask<KnobState>("/api/knobs", { method: "POST", token, body });
        input.value = set.value;
        return `${set.name} is now ${set.value}.`;
      });
    });
    return el("div", {}, form, el("p", { class: "key" }, knob.describe));
  }

  async #try(work: () => Promise<string>): Promise<void> {
    try {
      setText(this.#message, await work());
    } catch (error) {
      setText(this.#message, `Not changed: ${(error as Error).message}`);
      byId("token").focus();
    }
  }
}
