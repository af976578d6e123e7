// Finds out which of several Keyvs that share one adapter calls `clear`. Keyv calls the adapter's
// `clear` without a namespace, but emits its own event "clear" just before, to which this class
// listens.
//
// The adapter does not get the Keyv itself, only a function that forwards errors to it. That
// function looks up the Keyv's listeners in a Map. This class calls it once with a patched
// Map.prototype.get that records the Map and finds no listener. If that fails, as it may with
// another version of Keyv, several Keyvs can't be told apart, and `clear` is refused.
import { ZcacheError } from "../base/errors.ts";

type Listener = (...args: never[]) => void;

/** A Keyv that uses the adapter. */
interface Owner {
  namespace: string | undefined;
  /** The function that forwards errors to the Keyv. */
  readonly forwardsErrors: Listener;
  /** Whether its event "clear" is listened to. */
  isKnown: boolean;
}

/** The source of Keyv's function that forwards errors, minified or not. */
const FORWARDS_ERRORS = /^\(?(\w+)\)?\s*=>\s*this\.emit\(["'`]error["'`],\s*\1\)$/;

export class KeyvClears {
  readonly #owners: Owner[] = [];
  /** A Keyv that has joined and has not set its namespace yet. */
  #joined: Owner | undefined;
  #clearing: Owner | undefined;
  #isRenamed = false;

  /** The number of Keyvs that use the adapter. */
  get count(): number {
    return this.#owners.length;
  }

  /** Called for each listener to the adapter's errors; recognises those of Keyvs. */
  joined(listener: Listener): void {
    if (!FORWARDS_ERRORS.test(Function.prototype.toString.call(listener))) return;
    this.#joined = { namespace: undefined, forwardsErrors: listener, isKnown: false };
    this.#owners.push(this.#joined);
    // Usually there is only one, which needs no listener.
    if (this.#owners.length > 1) for (const owner of this.#owners) this.#listenTo(owner);
  }

  /** A Keyv has set its namespace: the one that has just joined, or one that is renamed. */
  named(namespace: string | undefined): void {
    const [only] = this.#owners;
    const owner = this.#joined ?? (this.#owners.length === 1 ? only : undefined);
    this.#joined = undefined;
    if (owner !== undefined) owner.namespace = namespace;
    // One of several Keyvs was renamed, and which one is unknown.
    else this.#isRenamed = this.#owners.length > 1;
  }

  /**
   * The namespace of the Keyv that calls `clear`.
   * @param last the namespace set last: that of the only Keyv, or of a caller other than Keyv
   * @throws ZcacheError ERR_OPTION if the Keyv is unknown
   */
  take(last: string | undefined): string | undefined {
    const owner = this.#clearing;
    this.#clearing = undefined;
    if (this.#owners.length <= 1) return last;
    if (owner !== undefined && !this.#isRenamed) return owner.namespace;
    throw new ZcacheError(
      "ERR_OPTION",
      "several Keyvs share this KeyvZcache, and which of them clears is unknown: " +
        "give each Keyv its own KeyvZcache with the same cache",
    );
  }

  #listenTo(owner: Owner): void {
    if (owner.isKnown) return;
    const listeners = listenersBehind(owner.forwardsErrors);
    if (listeners === undefined) return;
    owner.isKnown = true;
    const clears = () => {
      this.#clearing = owner;
    };
    listeners.set("clear", [...(listeners.get("clear") ?? []), clears]);
  }
}

/** The listeners of the Keyv to which the function forwards errors. */
function listenersBehind(forward: Listener): Map<string, Listener[]> | undefined {
  const { get } = Map.prototype;
  let found: Map<string, Listener[]> | undefined;
  try {
    Map.prototype.get = function catchLookup(key: unknown) {
      if (key === "error") found ??= this as Map<string, Listener[]>;
      return undefined;
    };
    (forward as (error: undefined) => void)(undefined);
  } catch {
    // The function does something else, so it is not Keyv's.
  } finally {
    Map.prototype.get = get;
  }
  return found;
}
