// Describes a caller's value for error messages in at most a line, without running the caller's
// code, as `String(value)` would.

const TEXT_MAX = 40;

export function describe(value: unknown): string {
  switch (typeof value) {
    case "string":
      return value.length > TEXT_MAX
        ? `${JSON.stringify(value.slice(0, TEXT_MAX))}…`
        : JSON.stringify(value);
    case "bigint":
      return `${value}n`;
    case "function":
      return "a function";
    case "object":
      if (value === null) return "null";
      return Array.isArray(value) ? "an array" : "an object";
    default:
      return String(value);
  }
}
