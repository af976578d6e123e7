// Numbers as text, as the page shows them.

/** Shown in place of a value that is not available. */
export const NOTHING = "–";

export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

export function times(ratio: number): string {
  return `${ratio.toFixed(2)}×`;
}

export function count(number: number): string {
  return Math.round(number).toLocaleString("en-US");
}

/** A number per second: `12.3 k/s`. */
export function rate(perSecond: number): string {
  if (perSecond >= 999_500) return `${(perSecond / 1e6).toPrecision(3)} M/s`;
  if (perSecond >= 9995) return `${(perSecond / 1000).toPrecision(3)} k/s`;
  return `${perSecond < 9.95 && perSecond > 0 ? perSecond.toFixed(1) : count(perSecond)}/s`;
}

/** Nanoseconds: `840 ns`, `12.3 µs`, `4.56 ms`, `1.20 s`. */
export function duration(ns: number): string {
  for (const [unit, size] of [
    ["s", 1e9],
    ["ms", 1e6],
    ["µs", 1000],
  ] as const) {
    if (ns >= size) return `${(ns / size).toPrecision(3)} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}

/** A span of time: `45 s`, `3 min`, `2 h 5 min`, `3 d 4 h`. */
export function span(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return `${Math.floor(ms / 1000)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48
    ? `${hours} h ${minutes % 60} min`
    : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A name of the API as words: `no_room` as `no room`. */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}

/** A name in camel case as words: `poolMetadata` as `pool metadata`. */
export function uncamel(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}
