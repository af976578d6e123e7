// The memory map: every page frame of the arena in the order of addresses. A cell is one frame, or
// several if there are more frames than the screen has room for. Its filled height is the share of
// the frame that objects use, so the map shows fragmentation: frames that are partly filled, and
// free frames between them.
import { formatBytes } from "../base/units.ts";
import type { FrameMap } from "./api.ts";
import { styleColour } from "./colours.ts";
import { el, setText, swatch } from "./dom.ts";
import { ask } from "./fetch.ts";
import { count } from "./format.ts";
import { type Cell, cellAt, describeCell, summarise } from "./map_cells.ts";
import { classTable, colourOfCell, legendOf, type MapMode, useColour } from "./map_legend.ts";

/** Sides of a cell, in CSS pixels. */
const CELL_MIN = 8;
const CELL_MAX = 26;
const HEIGHT_MAX = 400;
/** Zooming in shows an eighth of the range. */
const ZOOM = 8;
const DIM = 0.22;

interface Range {
  readonly from: number;
  readonly to: number;
}

export class MemoryMap {
  readonly element: HTMLElement;
  readonly #path: string;
  readonly #canvas = el("canvas", {
    id: "map",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "memory map",
    "aria-describedby": "map-help",
  });
  readonly #caption = el("p", { class: "key" });
  readonly #readout = el("p", { class: "readout", role: "status" });
  readonly #verdict = el("p", {});
  readonly #legend = el("ul", { class: "legend" });
  readonly #classes = el("div", { class: "classes" });
  readonly #zoomIn = el("button", { type: "button" }, "Zoom in");
  readonly #zoomOut = el("button", { type: "button" }, "Zoom out");
  readonly #mode = el(
    "select",
    {},
    el("option", { value: "class" }, "size of objects"),
    el("option", { value: "use" }, "use"),
    el("option", { value: "fullness" }, "fullness"),
  );
  /** The ranges zoomed into, the innermost last; empty if all frames are shown. */
  readonly #zoomed: Range[] = [];
  #map: FrameMap | undefined;
  #cells: Uint8Array = new Uint8Array(0);
  #columns = 1;
  #side = CELL_MIN;
  #cursor = -1;

  /** @param path the path of the service below /api */
  constructor(path: string) {
    this.#path = path;
    const { controls, help } = this.#makeControls();
    this.element = el(
      "section",
      { class: "wide" },
      el("h2", {}, "Memory map"),
      this.#caption,
      controls,
      this.#legend,
      this.#canvas,
      this.#readout,
      this.#verdict,
      help,
      el("details", {}, el("summary", {}, "Show as tables"), this.#classes),
    );
    this.#listen();
  }

  /** Requests the map and draws it. @throws as `ask` */
  async refresh(): Promise<void> {
    const width = this.#canvas.clientWidth || 600;
    const columns = Math.max(8, Math.floor(width / CELL_MIN));
    const cells = columns * Math.floor(HEIGHT_MAX / CELL_MIN);
    const range = this.#zoomed.at(-1);
    const part = range === undefined ? "" : `&from=${range.from}&to=${range.to}`;
    const map = await ask<FrameMap>(`${this.#path}/map?cells=${Math.min(16_384, cells)}${part}`);
    // The zoom has changed since the request, and another answer is on its way.
    if (range !== this.#zoomed.at(-1)) return;
    this.#map = map;
    this.#cells = Uint8Array.from(atob(map.cells), (char) => char.charCodeAt(0));
    this.draw();
    this.#describe(map);
  }

  /** Draws the last map in the style's colours, fitted to the width of the canvas. */
  draw(): void {
    const map = this.#map;
    const width = this.#canvas.clientWidth;
    if (map === undefined || width === 0) return;
    const cells = this.#cells.length / map.cellBytes;
    const wanted = Math.sqrt((width * HEIGHT_MAX) / Math.max(1, cells));
    this.#side = Math.max(CELL_MIN, Math.min(CELL_MAX, Math.floor(wanted)));
    this.#columns = Math.max(1, Math.floor(width / this.#side));
    const height = Math.max(1, Math.ceil(cells / this.#columns)) * this.#side;
    const scale = devicePixelRatio;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    this.#canvas.style.height = `${height}px`;
    const pen = this.#canvas.getContext("2d")!;
    pen.scale(scale, scale);
    const ground = styleColour("--free");
    const mode = this.#mode.value as MapMode;
    for (let nth = 0; nth < cells; nth++) this.#drawCell(pen, map, nth, mode, ground);
    if (this.#cursor >= 0 && this.#cursor < cells) this.#drawCursor(pen);
  }

  #drawCell(
    pen: CanvasRenderingContext2D,
    map: FrameMap,
    nth: number,
    mode: MapMode,
    ground: string,
  ): void {
    const cell = cellAt(this.#cells, map.cellBytes, nth);
    const side = this.#side - 1;
    const x = (nth % this.#columns) * this.#side;
    const y = Math.floor(nth / this.#columns) * this.#side;
    pen.fillStyle = ground;
    pen.fillRect(x, y, side, side);
    if (cell.objectShare === 0) {
      if (cell.freeShare === 1) return;
      pen.fillStyle = useColour(cell.use);
      const used = side * (1 - cell.freeShare);
      pen.fillRect(x, y + side - used, side, used);
      return;
    }
    // Frames with objects are pale up to their share of the cell, and solid up to the objects'.
    pen.fillStyle = colourOfCell(cell, map, mode);
    const held = side * (1 - cell.freeShare);
    pen.globalAlpha = DIM;
    pen.fillRect(x, y + side - held, side, held);
    pen.globalAlpha = 1;
    const filled = mode === "class" ? held * cell.fullness : held;
    pen.fillRect(x, y + side - filled, side, filled);
  }

  #drawCursor(pen: CanvasRenderingContext2D): void {
    const x = (this.#cursor % this.#columns) * this.#side;
    const y = Math.floor(this.#cursor / this.#columns) * this.#side;
    pen.strokeStyle = styleColour("--ink");
    pen.lineWidth = 2;
    pen.strokeRect(x, y, this.#side - 1, this.#side - 1);
  }

  #describe(map: FrameMap): void {
    const { from, to, perCell, framesTotal, pageSizeBytes } = map;
    const part =
      to - from === framesTotal
        ? `All ${count(framesTotal)} page frames of ${formatBytes(pageSizeBytes)}`
        : `Page frames ${count(from)} to ${count(to - 1)} of ${count(framesTotal)}`;
    const cells =
      perCell === 1
        ? "a cell is one frame"
        : `a cell is ${count(perCell)} frames: it shows their most frequent use and mean fullness`;
    setText(this.#caption, `${part}, lowest address first; ${cells}.`);
    setText(this.#verdict, summarise(map));
    const mode = this.#mode.value as MapMode;
    this.#legend.replaceChildren(
      ...legendOf(map, mode).map(([colour, name]) => el("li", {}, swatch(colour), name)),
    );
    this.#classes.replaceChildren(...classTable(map));
    this.#zoomIn.disabled = perCell === 1;
    this.#zoomOut.disabled = this.#zoomed.length === 0;
    this.#canvas.setAttribute("aria-label", `Memory map. ${part}. ${summarise(map)}`);
    this.#tell();
  }

  /** Describes the cell under the cursor. */
  #tell(): void {
    const map = this.#map;
    if (map === undefined) return;
    const cells = this.#cells.length / map.cellBytes;
    if (this.#cursor < 0 || this.#cursor >= cells) {
      setText(this.#readout, "Point at a cell, tap it, or use the arrow keys to read it.");
      return;
    }
    const cell: Cell = cellAt(this.#cells, map.cellBytes, this.#cursor);
    setText(this.#readout, describeCell(cell, map, this.#cursor));
  }

  #moveTo(cell: number): void {
    const map = this.#map;
    if (map === undefined) return;
    const cells = this.#cells.length / map.cellBytes;
    this.#cursor = Math.max(0, Math.min(cells - 1, cell));
    this.draw();
    this.#tell();
  }

  #zoom(isIn: boolean): void {
    const map = this.#map;
    if (map === undefined) return;
    if (!isIn) {
      if (this.#zoomed.pop() === undefined) return;
    } else {
      if (map.perCell === 1) return;
      const frames = Math.max(map.perCell * 8, Math.ceil((map.to - map.from) / ZOOM));
      const middle = map.from + (Math.max(0, this.#cursor) + 0.5) * map.perCell;
      const last = map.framesTotal - frames;
      // Begins at a multiple of 16, so that blocks of frames stay together.
      const from = Math.floor(Math.max(0, Math.min(last, middle - frames / 2)) / 16) * 16;
      this.#zoomed.push({ from, to: Math.min(map.framesTotal, from + frames) });
    }
    this.#cursor = -1;
    // A lost connection is shown by the page itself.
    this.refresh().catch(() => {});
  }

  #makeControls() {
    const label = el("label", {}, "Colour by", this.#mode);
    const controls = el("div", { class: "controls" }, label, this.#zoomIn, this.#zoomOut);
    const help = el(
      "p",
      { class: "key", id: "map-help" },
      "Arrow keys move, Enter zooms in, Escape zooms out.",
    );
    return { controls, help };
  }

  #listen(): void {
    const canvas = this.#canvas;
    const cellOf = (event: PointerEvent) => {
      const column = Math.min(this.#columns - 1, Math.floor(event.offsetX / this.#side));
      return Math.floor(event.offsetY / this.#side) * this.#columns + column;
    };
    canvas.addEventListener("pointermove", (event) => this.#moveTo(cellOf(event)));
    canvas.addEventListener("pointerdown", (event) => this.#moveTo(cellOf(event)));
    canvas.addEventListener("dblclick", () => this.#zoom(true));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    this.#zoomIn.addEventListener("click", () => this.#zoom(true));
    this.#zoomOut.addEventListener("click", () => this.#zoom(false));
    this.#mode.addEventListener("change", () => {
      this.draw();
      if (this.#map !== undefined) this.#describe(this.#map);
    });
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  #key(event: KeyboardEvent): void {
    const steps: Readonly<Record<string, number>> = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.#columns,
      ArrowDown: this.#columns,
    };
    const step = steps[event.key];
    if (step !== undefined) this.#moveTo(Math.max(this.#cursor, 0) + (this.#cursor < 0 ? 0 : step));
    else if (event.key === "Home") this.#moveTo(0);
    else if (event.key === "End") this.#moveTo(Number.MAX_SAFE_INTEGER);
    else if (event.key === "Enter") this.#zoom(true);
    else if (event.key === "Escape" && this.#zoomed.length > 0) this.#zoom(false);
    else return;
    event.preventDefault();
  }
}
