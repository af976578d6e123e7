// Intrusive lists against arrays: any sequence, and after each step both directions agree.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  LINK_WORDS,
  listAdd,
  listAddTail,
  listCheck,
  listDel,
  listEmpty,
  listFirst,
  listInit,
  listLast,
  listNext,
  listPrev,
} from "../../src/memory/list.ts";

const HEADS = [10, 20];
const NODES = 12;
const WORDS = 100;

function linkOfNode(node: number): number {
  return 40 + node * LINK_WORDS;
}

function freshLists(): Int32Array {
  const words = new Int32Array(WORDS);
  for (const head of HEADS) listInit(words, head);
  for (let node = 0; node < NODES; node++) listInit(words, linkOfNode(node));
  return words;
}

function forwards(words: Int32Array, head: number): number[] {
  const links: number[] = [];
  for (let at = listFirst(words, head); at !== head; at = listNext(words, at)) {
    links.push(at);
    assert.ok(links.length <= NODES, "the list comes back to its head");
  }
  return links;
}

function backwards(words: Int32Array, head: number): number[] {
  const links: number[] = [];
  for (let at = listLast(words, head); at !== head; at = listPrev(words, at)) {
    links.push(at);
    assert.ok(links.length <= NODES, "the list comes back to its head");
  }
  return links;
}

const step = fc.record({
  op: fc.constantFrom("add", "addTail", "del"),
  node: fc.nat(NODES - 1),
  list: fc.nat(HEADS.length - 1),
});

test("any sequence of insertions and removals agrees with arrays", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const words = freshLists();
      const model: number[][] = HEADS.map(() => []);
      for (const { op, node, list } of steps) {
        const link = linkOfNode(node);
        listDel(words, link);
        for (const links of model) if (links.includes(link)) links.splice(links.indexOf(link), 1);
        assert.ok(listEmpty(words, link), "a removed node points to itself");
        if (op === "add") {
          listAdd(words, link, HEADS[list]!);
          model[list]!.unshift(link);
        } else if (op === "addTail") {
          listAddTail(words, link, HEADS[list]!);
          model[list]!.push(link);
        }
        HEADS.forEach((head, index) => {
          const expected = model[index]!;
          assert.deepEqual(forwards(words, head), expected);
          assert.deepEqual(backwards(words, head), expected.toReversed());
          assert.equal(listCheck(words, head, NODES), expected.length);
          assert.equal(listEmpty(words, head), expected.length === 0);
          assert.equal(listFirst(words, head), expected[0] ?? head);
          assert.equal(listLast(words, head), expected.at(-1) ?? head);
        });
      }
    }),
  );
});

test("removing a node twice, or one that is in no list, does no harm", () => {
  const words = freshLists();
  listAdd(words, linkOfNode(0), HEADS[0]!);
  listAdd(words, linkOfNode(1), HEADS[0]!);
  for (let times = 0; times < 3; times++) listDel(words, linkOfNode(0));
  listDel(words, linkOfNode(5));
  assert.deepEqual(forwards(words, HEADS[0]!), [linkOfNode(1)]);
});

test("listCheck finds any one broken word of any link", () => {
  const head = HEADS[0]!;
  const broken = [-1, 0, 1, WORDS - 1, WORDS, 2 ** 31 - 1, -(2 ** 31), head, linkOfNode(9)];
  for (let length = 1; length <= 5; length++) {
    const words = freshLists();
    for (let node = 0; node < length; node++) listAddTail(words, linkOfNode(node), head);
    const links = [head, ...forwards(words, head)];
    for (const at of links.flatMap((link) => [link, link + 1])) {
      const right = words[at]!;
      for (const wrong of [...broken, ...links].filter((value) => value !== right)) {
        words[at] = wrong;
        assert.equal(listCheck(words, head, NODES), -1, `word ${at}: ${wrong}, not ${right}`);
      }
      words[at] = right;
    }
    assert.equal(listCheck(words, head, NODES), length);
  }
});

test("listCheck gives up behind its limit", () => {
  const words = freshLists();
  for (let node = 0; node < 8; node++) listAddTail(words, linkOfNode(node), HEADS[0]!);
  assert.equal(listCheck(words, HEADS[0]!, 8), 8);
  assert.equal(listCheck(words, HEADS[0]!, 5), -1);
});
