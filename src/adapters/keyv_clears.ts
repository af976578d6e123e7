// Which of several Keyvs with one adapter it is that clears. Keyv calls the adapter's `clear`
// without a namespace; but it emits its own event "clear" just before, and listeners hear that.
//
// A Keyv is not given to its adapter, only a function that hands errors on to the Keyv. That
// function looks up the Keyv's listeners in a Map: the Map is caught when the function is called
// once, by a lookup that finds nothing, so that no listener is called. Where that fails, as it may
// with another version of Keyv, several Keyvs can't be told apart, and `clear` is refused.
import { ZcacheError } from "../base/errors.ts";

type Listener = (...args: never[]) => void;

/** A Keyv that has the adapter. */
interface Owner {
  namespace: string | undefined;
  /** What it handed to the adapter. */
  readonly handsOn: Listener;
  /** Whether it is heard of when it clears. */
  isKnown: boolean;
}

/** Keyv's function that hands errors on, minified or not. */
const HANDS_ON = /^\(?(\w+)\)?\s*=>\s*this\.emit\(["'`]error["'`],\s*\1\)$/;

export class KeyvClears {
  readonly #owners: Owner[] = [];
  /** One that has joined and has not said its namespace yet. */
  #joined: Owner | undefined;
  #clearing: Owner | undefined;
  #isRenamed = false;

  /** How many Keyvs have the adapter. */
  get count(): number {
    return this.#owners.length;
  }

  /** Somebody listens to the adapter's errors: a Keyv, if it is one of its functions. */
  joined(listener: Listener): void {
    if (!HANDS_ON.test(Function.prototype.toString.call(listener))) return;
    this.#joined = { namespace: undefined, handsOn: listener, isKnown: false };
    this.#owners.push(this.#joined);
    // The first is the only one as a rule, and then nothing has to be known of it.
    if (this.#owners.length > 1) for (const owner of this.#owners) this.#listenTo(owner);
  }

  /** A Keyv has said its namespace: the one that has just joined, or one that is renamed. */
  named(namespace: string | undefined): void {
    const [only] = this.#owners;
    const owner = this.#joined ?? (this.#owners.length === 1 ? only : undefined);
    this.#joined = undefined;
    if (owner !== undefined) owner.namespace = namespace;
    // One of several has another name now, and may be any of them.
    else this.#isRenamed = this.#owners.length > 1;
  }

  /**
   * The namespace of the Keyv that clears.
   * @param last the one that was set last: that of the only Keyv, or of a caller that is none
   * @throws ZcacheError ERR_OPTION if it can't be told
   */
  take(last: string | undefined): string | undefined {
    const owner = this.#clearing;
    this.#clearing = undefined;
    if (this.#owners.length <= 1) return last;
    if (owner !== undefined && !this.#isRenamed) return owner.namespace;
    throw new ZcacheError(
      "ERR_OPTION",
      "several Keyvs have this KeyvZcache, and which of them clears can't be told: " +
        "give each Keyv a KeyvZcache of its own, with the same cache",
    );
  }

  #listenTo(owner: Owner): void {
    if (owner.isKnown) return;
    const listeners = listenersBehind(owner.handsOn);
    if (listeners === undefined) return;
    owner.isKnown = true;
    const clears = () => {
      this.#clearing = owner;
    };
    listeners.set("clear", [...(listeners.get("clear") ?? []), clears]);
  }
}

/** The listeners of whoever the function hands errors on to. */
function listenersBehind(handOn: Listener): Map<string, Listener[]> | undefined {
  const { get } = Map.prototype;
  let found: Map<string, Listener[]> | undefined;
  try {
    Map.prototype.get = function catchLookup(key: unknown) {
      if (key === "error") found ??= this as Map<string, Listener[]>;
      return undefined;
    };
    (handOn as (error: undefined) => void)(undefined);
  } catch {
    // It has looked up something else: then it is no such Keyv.
  } finally {
    Map.prototype.get = get;
  }
  return found;
}
