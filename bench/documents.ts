// Synthetic JSON documents as services keep them in caches: orders, articles, log excerpts,
// profiles and products, 0.5 to 8 KiB long. Repeated parts (member names, words, user agents) and
// unique parts (ids, times, amounts) are balanced so that the documents compress like real ones;
// docs/decisions/0011-dictionaries.md has the figures.
//
// A document is a function of the seed and its number, so any thread can make any document.
import { Xorshift32 } from "../src/base/random.ts";

/** Documents that together have 470 MiB. */
export const DOCUMENT_COUNT = 200_000;
const BYTES_MIN = 500;
const BYTES_MAX = 7900;
/** Lengths are BYTES_MIN + (BYTES_MAX − BYTES_MIN) · u^SKEW: many short ones, some long. */
const SKEW = 2.9;
/** Words are taken as VOCABULARY · u^WORD_SKEW, which is near to Zipf's law. */
const WORD_SKEW = 1.2;
const VOCABULARY = 16_000;
/** Of eight words, this many are among the document's TOPIC_WORDS. */
const TOPIC_OF_EIGHT = 4;
const TOPIC_WORDS = 16;
const MIX = 0x9e3779b1;
const HEX = Array.from({ length: 65536 }, (_, n) => n.toString(16).padStart(4, "0"));
const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/** The first of January 2024, in seconds. */
const EPOCH = 1_704_067_200;
const YEAR_S = 31_536_000;

const ONSETS = "b c ch d f g gr h j k l m n p pl qu r s st t tr v w z br cl".split(" ");
const VOWELS = "a e i o u ai ea ou ie y".split(" ");
const CODAS = ["", "", "", "n", "r", "s", "t", "l", "nd", "st", "ng", "m"];
const FIRST = (
  "Anna Ben Carla David Elena Farid Grace Hugo Ines Jonas Karin Liam Mia Noah Olga " +
  "Paul Quentin Rosa Sven Tara Ugo Vera Walid Xenia Yusuf Zoé Renée Jörg Søren Mónica"
).split(" ");
const CITIES = (
  "Berlin Lisbon Oslo Paris Madrid Vienna Prague Warsaw Dublin Athens Rome Turin " +
  "Zürich Málaga Lyon Ghent Porto Krakow Tallinn Riga"
).split(" ");
const COUNTRIES = ["DE", "PT", "NO", "FR", "ES", "AT", "CZ", "PL", "IE", "GR", "IT", "CH", "BE"];
const STATUS = ["pending", "paid", "shipped", "delivered", "returned", "cancelled"];
const SERVICES = ["checkout", "catalog", "search", "gateway", "billing", "inventory", "accounts"];
const LEVELS = ["info", "info", "info", "debug", "warn", "error"];
const METHODS = ["GET", "GET", "GET", "POST", "PUT", "DELETE"];
const AGENTS = [
  "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0",
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.5 Safari/605.1",
  "curl/8.8.0",
];

/** Invented words, the first ones short and frequent. */
const WORDS = makeWords(new Xorshift32(77));

function makeWords(random: Xorshift32): string[] {
  const words = new Set<string>();
  const one = (list: readonly string[]) => list[random.below(list.length)]!;
  while (words.size < VOCABULARY) {
    let word = "";
    const syllables = 1 + (words.size > 60 ? 1 : 0) + random.below(words.size > 400 ? 3 : 1);
    for (let n = 0; n < syllables; n++) word += one(ONSETS) + one(VOWELS) + one(CODAS);
    words.add(word);
  }
  return [...words];
}

/** The word of each of 2¹⁶ draws: computing a power for each word would take half of the time. */
const DRAWS = Uint16Array.from({ length: 65536 }, (_, draw) => {
  return Math.floor(VOCABULARY * ((draw + 0.5) / 65536) ** WORD_SKEW);
});

function capital(word: string): string {
  return word[0]!.toUpperCase() + word.slice(1);
}

const HUNDREDTHS = Array.from({ length: 100 }, (_, n) => String(n).padStart(2, "0"));

/** Writes the parts of one document. */
class Writer {
  readonly #topic: string[] = [];
  /** Signed, so that the engine keeps it without an object for each number; never 0. */
  #state: number;

  constructor(seed: number) {
    let state = seed;
    state = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
    this.#state = state ^ (state >>> 16) || 1;
    for (let n = 0; n < TOPIC_WORDS; n++) this.#topic.push(this.#anyWord());
  }

  /** The next `bits` random bits, 1 … 31 (xorshift32, as in `base/random.ts`). */
  bits(count: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> (32 - count);
  }

  below(bound: number): number {
    return this.bits(31) % bound;
  }

  one(list: readonly string[]): string {
    return list[this.below(list.length)]!;
  }

  /** 0 ≤ u < 1 */
  unit(): number {
    return this.bits(31) / 2 ** 31;
  }

  #anyWord(): string {
    return WORDS[DRAWS[this.bits(16)]!]!;
  }

  word(): string {
    const draw = this.bits(16);
    if ((draw & 7) < TOPIC_OF_EIGHT) return this.#topic[(draw >>> 3) % TOPIC_WORDS]!;
    return this.#anyWord();
  }

  words(count: number): string {
    let text = this.word();
    for (let n = 1; n < count; n++) text += ` ${this.word()}`;
    return text;
  }

  sentences(count: number): string {
    let text = "";
    for (let n = 0; n < count; n++) {
      if (n > 0) text += " ";
      text += `${capital(this.word())} ${this.words(4 + this.below(10))}`;
      text += this.below(5) === 0 ? "?" : ".";
    }
    return text;
  }

  /** `words` times 16 bits in hexadecimal. */
  hex(words: number): string {
    let text = "";
    for (let n = 0; n < words; n++) text += HEX[this.bits(16)];
    return text;
  }

  /** `triples` times 18 random bits in base 64, as tokens and signatures are written. */
  token(triples: number): string {
    let text = "";
    for (let n = 0; n < triples; n++) {
      const bits = this.bits(18);
      text += BASE64[bits >>> 12]! + BASE64[(bits >>> 6) & 63]! + BASE64[bits & 63]!;
    }
    return text;
  }

  uuid(): string {
    const rest = `${this.hex(1)}-4${this.hex(1).slice(1)}-a${this.hex(1).slice(1)}`;
    return `${this.hex(2)}-${rest}-${this.hex(3)}`;
  }

  time(): string {
    const seconds = EPOCH + this.below(YEAR_S);
    return new Date(seconds * 1000 + this.below(1000)).toISOString();
  }

  amount(below: number): string {
    return `${this.below(below)}.${HUNDREDTHS[this.below(100)]}`;
  }

  name(): string {
    return `${this.one(FIRST)} ${capital(this.word())}`;
  }

  ip(): string {
    const byte = () => this.bits(8);
    return `${10 + this.below(180)}.${byte()}.${byte()}.${byte()}`;
  }
}

/** A kind of document: the text around a list, and one item of the list. */
interface Kind {
  head(to: Writer): string;
  item(to: Writer): string;
  tail(to: Writer): string;
}

const ORDER: Kind = {
  head: (to) =>
    `{"type":"order","id":"${to.uuid()}","createdAt":"${to.time()}","updatedAt":"${to.time()}",` +
    `"status":"${to.one(STATUS)}","currency":"EUR","customer":{"id":${to.below(1e7)},` +
    `"name":"${to.name()}","email":"${to.word()}.${to.word()}@${to.word()}.example",` +
    `"address":{"street":"${to.word()} ${1 + to.below(200)}","city":"${to.one(CITIES)}",` +
    `"postalCode":"${10000 + to.below(89999)}","country":"${to.one(COUNTRIES)}"}},"items":[`,
  item: (to) =>
    `{"sku":"${to.hex(1).toUpperCase()}-${to.below(1e6)}","name":"${to.words(3)}",` +
    `"quantity":${1 + to.below(5)},"unitPrice":${to.amount(400)},` +
    `"discount":${to.below(4) === 0 ? to.amount(20) : 0},"warehouse":"${to.one(CITIES)}",` +
    `"reference":"${to.token(8)}"}`,
  tail: (to) =>
    `],"shipping":{"carrier":"${to.word()}","tracking":"${to.hex(5)}","cost":${to.amount(30)}},` +
    `"total":${to.amount(2000)},"notes":"${to.sentences(1)}"}`,
};

const ARTICLE: Kind = {
  head: (to) =>
    `{"type":"article","id":"${to.uuid()}","slug":"${to.words(5).replaceAll(" ", "-")}",` +
    `"title":"${to.words(6)}","author":{"id":${to.below(1e6)},"name":"${to.name()}"},` +
    `"publishedAt":"${to.time()}","language":"en","tags":["${to.word()}","${to.word()}",` +
    `"${to.word()}"],"views":${to.below(1e6)},"paragraphs":[`,
  item: (to) => `"${to.sentences(2 + to.below(3))}"`,
  tail: (to) => `],"etag":"${to.token(14)}","revision":${to.below(100)}}`,
};

const LOG: Kind = {
  head: (to) =>
    `{"type":"trace","traceId":"${to.hex(8)}","service":"${to.one(SERVICES)}",` +
    `"startedAt":"${to.time()}","host":"node-${to.below(400)}.${to.one(SERVICES)}.internal",` +
    '"spans":[',
  item: (to) =>
    `{"spanId":"${to.hex(4)}","parentId":"${to.hex(4)}","time":"${to.time()}",` +
    `"level":"${to.one(LEVELS)}","service":"${to.one(SERVICES)}","method":"${to.one(METHODS)}",` +
    `"path":"/v2/${to.word()}/${to.below(1e6)}","status":${200 + to.below(4) * 100},` +
    `"durationUs":${to.below(3e6)},"message":"${to.words(4)}",` +
    `"context":"${to.token(8)}"}`,
  tail: (to) => `],"sampled":true,"signature":"${to.token(14)}"}`,
};

const PROFILE: Kind = {
  head: (to) =>
    `{"type":"profile","userId":"${to.uuid()}","name":"${to.name()}","locale":"en-GB",` +
    `"email":"${to.word()}${to.below(1000)}@${to.word()}.example","verified":true,` +
    `"preferences":{"theme":"dark","newsletter":false,"currency":"EUR","pageSize":50,` +
    `"notifications":{"email":true,"push":false,"sms":false}},"bio":"${to.sentences(2)}",` +
    '"sessions":[',
  item: (to) =>
    `{"id":"${to.uuid()}","ip":"${to.ip()}","lastSeen":"${to.time()}",` +
    `"userAgent":"${to.one(AGENTS)}","location":{"city":"${to.one(CITIES)}",` +
    `"latitude":${(to.unit() * 180 - 90).toFixed(6)},` +
    `"longitude":${(to.unit() * 360 - 180).toFixed(6)}},` +
    `"token":"${to.token(24)}"}`,
  tail: (to) => `],"createdAt":"${to.time()}","score":${to.unit().toFixed(8)}}`,
};

const PRODUCT: Kind = {
  head: (to) =>
    `{"type":"product","sku":"${to.hex(2).toUpperCase()}","name":"${to.words(3)}",` +
    `"description":"${to.sentences(3)}","price":{"amount":${to.amount(900)},"currency":"EUR"},` +
    `"stock":${to.below(5000)},"category":["${to.word()}","${to.word()}"],` +
    `"image":"https://images.example.com/p/${to.token(10)}.jpg",` +
    `"dimensions":{"width":${to.amount(90)},` +
    `"height":${to.amount(90)},"depth":${to.amount(90)},"weight":${to.amount(30)}},"reviews":[`,
  item: (to) =>
    `{"rating":${1 + to.below(5)},"author":"${to.name()}","postedAt":"${to.time()}",` +
    `"helpful":${to.below(200)},"text":"${to.sentences(1 + to.below(3))}",` +
    `"cursor":"${to.token(10)}"}`,
  tail: (to) => `],"averageRating":${(1 + to.unit() * 4).toFixed(2)},"updatedAt":"${to.time()}"}`,
};

const KINDS: readonly Kind[] = [ORDER, ARTICLE, LOG, PROFILE, PRODUCT];

/**
 * Document number `index`, JSON of BYTES_MIN to about BYTES_MAX characters, 2.4 KiB in the mean.
 * All its characters are below U+0100, so that the engine keeps it in one byte each.
 */
export function documentAt(index: number, seed = 1): string {
  const to = new Writer(Math.imul(index + 1, MIX) ^ Math.imul(seed, 0x85ebca6b));
  const kind = KINDS[to.below(KINDS.length)]!;
  const length = BYTES_MIN + (BYTES_MAX - BYTES_MIN) * to.unit() ** SKEW;
  let text = kind.head(to) + kind.item(to);
  const tail = kind.tail(to);
  for (;;) {
    const item = kind.item(to);
    if (text.length + item.length / 2 + tail.length > length) return text + tail;
    text += `,${item}`;
  }
}

/** Documents `first` … `first + count − 1` in UTF-8. */
export function documents(first: number, count: number, seed = 1): Uint8Array[] {
  const encoder = new TextEncoder();
  return Array.from({ length: count }, (_, n) => encoder.encode(documentAt(first + n, seed)));
}
