// The rules of the machine, one by one: from a state, an input, and what must follow.

import assert from "node:assert/strict";
import { test } from "node:test";

import { BURST, INITIAL, PENDING_MAX, REFILL, step, type Effect, type Input, type State } from "../src/machine.js";
import type { InboxItem, InboxPage, ServerFrame } from "../src/protocol.js";

const PAGE: InboxPage = { items: [], next: null, unread: 0, unseen: 0, cursor: "1.5" };

function item(id: string, more: Partial<InboxItem> = {}): InboxItem {
  return { id, title: "Hello", body: "", created_at: "2026-11-22T10:00:00Z", cursor: "1.1", ...more };
}

/** A machine under test: takes inputs, and remembers the effects of the last one. */
class Subject {
  state: State = INITIAL;
  effects: readonly Effect[] = [];

  take(input: Input): this {
    ({ state: this.state, effects: this.effects } = step(this.state, input));
    return this;
  }

  frame(frame: ServerFrame): this {
    return this.take({ type: "frame", turn: this.state.turn, frame });
  }

  event(cursor: string, event: string, notification: InboxItem, unread = 0): this {
    return this.frame({ type: "event", cursor, event: `notification.${event}`, unread, unseen: 0, notification });
  }

  closed(code: number): this {
    return this.take({ type: "closed", turn: this.state.turn, code });
  }

  loaded(page: InboxPage = PAGE): this {
    this.take({ type: "start" }).take({ type: "token", token: "t" });
    return this.take({ type: "page", turn: this.state.turn, page });
  }

  welcomed(resumed = true): this {
    const counts = { cursor: this.state.inbox.cursor ?? "1.9", unread: 0, unseen: 0 };
    const more = { connection_id: "con_1", user_id: "alice", resumed, heartbeat_ms: 25_000 };
    return this.frame({ type: "welcome", ...counts, ...more });
  }

  live(page: InboxPage = PAGE): this {
    return this.loaded(page).welcomed().synced();
  }

  synced(cursor = "1.6"): this {
    return this.frame({ type: "sync", cursor, unread: 0, unseen: 0 });
  }

  get<T extends Effect["type"]>(type: T): Extract<Effect, { type: T }>[] {
    return this.effects.filter((effect): effect is Extract<Effect, { type: T }> => effect.type === type);
  }

  timer(name: string): { ms: number; jitter: boolean } | undefined {
    const set = this.get("set_timer").find(({ timer }) => timer === name);
    return set && { ms: set.ms, jitter: set.jitter };
  }

  ids(): string[] {
    return this.state.inbox.items.map(({ id }) => id);
  }
}

test("a start gets a token, then the inbox, then a connection from its cursor", () => {
  const subject = new Subject().take({ type: "start" });
  assert.deepEqual(subject.effects.at(-1), { type: "get_token" });
  subject.take({ type: "token", token: "t" });
  assert.deepEqual(subject.effects, [{ type: "load", turn: subject.state.turn, token: "t" }]);
  subject.take({ type: "page", turn: subject.state.turn, page: PAGE });
  const { turn } = subject.state;
  assert.deepEqual(subject.get("connect"), [{ type: "connect", turn, token: "t", cursor: "1.5", connectionId: null }]);
  assert.equal(subject.welcomed().state.phase, "live");
});

test("each cursor is stored with its counts, but not that of a reply", () => {
  const subject = new Subject().live();
  subject.event("1.7", "created", item("a"), 1);
  assert.deepEqual([subject.state.inbox.cursor, subject.state.inbox.unread], ["1.7", 1]);
  subject.frame({ type: "reply", ref: "x", cursor: "1.20" });
  assert.equal(subject.state.inbox.cursor, "1.7");
  assert.equal(subject.synced("1.8").state.inbox.cursor, "1.8");
});

test("an event replaces the whole item, and the end of an item removes it", () => {
  const subject = new Subject().live({ ...PAGE, items: [item("b"), item("a", { read_at: "2026-11-22T10:00:00Z" })] });
  subject.event("1.7", "unread", item("a"));
  assert.equal(subject.state.inbox.items[1]?.read_at, undefined);
  subject.event("1.8", "created", item("c"));
  assert.deepEqual(subject.ids(), ["c", "b", "a"]);
  subject.event("1.9", "cancelled", item("b")).event("1.10", "expired", item("c"));
  assert.deepEqual(subject.ids(), ["a"]);
});

test("an item that nobody loaded stays where it is, unless it comes back to the list", () => {
  const young = item("b", { created_at: "2026-11-22T12:00:00Z" });
  const subject = new Subject().live({ ...PAGE, items: [young], next: "x" });
  subject.event("1.7", "read", item("a"));
  assert.deepEqual(subject.ids(), ["b"]);
  subject.event("1.8", "unarchived", item("a"));
  assert.deepEqual(subject.ids(), ["b", "a"]);
});

test("what is told while older items are on their way wins over them", () => {
  const subject = new Subject().live({ ...PAGE, items: [item("d")], next: "x" }).take({ type: "more" });
  assert.deepEqual(subject.effects, [{ type: "load_older", before: "x", cursor: "1.6", token: "t" }]);
  const read = item("b", { read_at: "2026-11-22T11:00:00Z" });
  subject.event("1.7", "read", read).event("1.8", "cancelled", item("c")).event("1.9", "cancelled", item("d"));
  const page = { ...PAGE, items: [item("d"), item("c"), item("b"), item("a")], cursor: "1.6" };
  subject.take({ type: "older", before: "x", page });
  assert.deepEqual(subject.ids(), ["b", "a"]);
  assert.equal(subject.state.inbox.items[0], read);
  assert.deepEqual([subject.state.inbox.cursor, subject.state.inbox.next], ["1.9", null]);
});

test("a disconnect resumes from the last cursor and asks for the same place", () => {
  const subject = new Subject().live().event("1.7", "created", item("a")).closed(1006);
  assert.deepEqual(subject.timer("retry"), { ms: 500, jitter: true });
  subject.take({ type: "timer", timer: "retry" });
  const [connect] = subject.get("connect");
  assert.deepEqual([connect?.cursor, connect?.connectionId], ["1.7", "con_1"]);
});

test("attempts that fail come ever later, and 30 s apart at most", () => {
  const subject = new Subject().live();
  const waits = Array.from({ length: 8 }, () => {
    const wait = subject.closed(1006).timer("retry");
    subject.take({ type: "timer", timer: "retry" });
    return wait?.ms;
  });
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
  // Only being in sync is success: a welcome can be followed by the next failure.
  assert.deepEqual(subject.welcomed().closed(4001).timer("retry")?.ms, 30000);
  subject.take({ type: "timer", timer: "retry" }).welcomed().synced();
  assert.deepEqual(subject.closed(4001).timer("retry")?.ms, 500);
});

test("a server that goes away says when to come back", () => {
  const subject = new Subject().live().event("1.7", "created", item("a"));
  subject.frame({ type: "closing", code: 4001, retry_in_ms: 1830 });
  assert.deepEqual(subject.get("send"), [{ type: "send", frame: { type: "ack", cursor: "1.7" } }]);
  assert.deepEqual(subject.closed(4001).timer("retry"), { ms: 1830, jitter: false });
});

for (const code of [1000, 1006, 1011, 4001, 4002, 4003, 4004, 4005, 4006, 4499]) {
  test(`${code} reconnects from the cursor`, () => {
    const subject = new Subject().live().closed(code);
    assert.equal(subject.state.phase, "waiting");
    subject.take({ type: "timer", timer: "retry" });
    if (code === 4003) {
      assert.deepEqual(subject.effects, [{ type: "get_token" }], "with a fresh token");
      subject.take({ type: "token", token: "fresh" });
    }
    const [connect] = subject.get("connect");
    assert.deepEqual([connect?.cursor, connect?.token], ["1.6", code === 4003 ? "fresh" : "t"]);
  });
}

for (const code of [4501, 4502, 4503, 4999]) {
  test(`${code} gives up, and a start begins again`, () => {
    const subject = new Subject().live().closed(code);
    assert.deepEqual([subject.state.phase, subject.state.failure?.code], ["failed", code]);
    assert.deepEqual(subject.get("set_timer"), []);
    assert.equal(subject.take({ type: "start" }).get("connect").length, 1);
  });
}

test("4500 tries one fresh token and then gives up", () => {
  const subject = new Subject().live().closed(4500);
  assert.deepEqual(subject.effects.at(-1), { type: "get_token" });
  subject.take({ type: "token", token: "fresh" });
  assert.equal(subject.get("connect")[0]?.token, "fresh");
  assert.equal(subject.closed(4500).state.phase, "failed");
});

test("an inbox that cannot be read is asked for again, or never, or with a fresh token", () => {
  const failing = (status?: number, retryInMs?: number) => {
    const problem = { type: "x", title: "x", detail: "x" };
    const failure = { message: "x", ...(status === undefined ? {} : { problem: { ...problem, status } }) };
    const subject = new Subject().take({ type: "start" }).take({ type: "token", token: "t" });
    const wait = retryInMs === undefined ? {} : { retryInMs };
    return subject.take({ type: "page_failed", turn: subject.state.turn, failure, ...wait });
  };
  assert.deepEqual(failing().timer("retry"), { ms: 500, jitter: true });
  assert.deepEqual(failing(503, 2000).timer("retry"), { ms: 2000, jitter: false });
  assert.equal(failing(403).state.phase, "failed");
  assert.deepEqual(failing(401).effects.at(-1), { type: "get_token" });
});

test("a reset leaves the connection, loads the inbox and connects from it", () => {
  const subject = new Subject().live({ ...PAGE, items: [item("a")] });
  const { turn } = subject.state;
  subject.frame({ type: "reset", reason: "epoch-lost", cursor: "2.1", unread: 0, unseen: 0 });
  assert.ok(subject.get("disconnect").length > 0);
  assert.equal(subject.get("load").length, 1);
  assert.deepEqual(subject.ids(), ["a"], "still to be seen");
  subject.take({ type: "frame", turn, frame: { type: "sync", cursor: "2.9", unread: 9, unseen: 9 } });
  assert.deepEqual(subject.effects, [], "the old connection is over");
  subject.take({ type: "page", turn: subject.state.turn, page: { ...PAGE, cursor: "2.3" } });
  assert.deepEqual([subject.get("connect")[0]?.cursor, subject.ids()], ["2.3", []]);
});

test("a connection cut off during a reset does not resume from the cursor that is lost", () => {
  const subject = new Subject().live().frame({ type: "reset", reason: "x", cursor: "2.1", unread: 0, unseen: 0 });
  const failure = { message: "no network" };
  subject.take({ type: "page_failed", turn: subject.state.turn, failure }).take({ type: "timer", timer: "retry" });
  assert.deepEqual([subject.get("connect").length, subject.get("load").length], [0, 1]);
});

test("a welcome that does not resume is a reset, and one after the other is slowed down", () => {
  const subject = new Subject().loaded().welcomed(false);
  assert.equal(subject.get("load").length, 1);
  subject.take({ type: "page", turn: subject.state.turn, page: PAGE }).welcomed(false);
  assert.deepEqual([subject.get("load").length, subject.timer("retry")?.ms], [0, 1000]);
});

test("silence for twice the heartbeat is the end of a connection", () => {
  const subject = new Subject().live();
  assert.deepEqual(subject.timer("silence"), { ms: 50_000, jitter: false });
  subject.take({ type: "timer", timer: "silence" });
  assert.deepEqual([subject.get("disconnect").length, subject.state.phase], [1, "waiting"]);
});

test("a token that expires is renewed on the same connection", () => {
  const subject = new Subject().live().frame({ type: "token_expiring", expires_at: "2026-11-22T10:00:00Z" });
  assert.deepEqual(subject.effects.at(-1), { type: "get_token" });
  subject.take({ type: "token", token: "fresh" });
  assert.deepEqual(subject.effects, [{ type: "send", frame: { type: "auth", token: "fresh", ref: "auth" } }]);
  assert.equal(subject.state.phase, "live");
});

test("events are acknowledged together, by the newest cursor", () => {
  const subject = new Subject().live().event("1.7", "created", item("a"));
  assert.deepEqual(subject.timer("ack"), { ms: 250, jitter: false });
  assert.equal(subject.event("1.8", "created", item("b")).timer("ack"), undefined);
  subject.take({ type: "timer", timer: "ack" });
  assert.deepEqual(subject.effects, [{ type: "send", frame: { type: "ack", cursor: "1.8" } }]);
  assert.deepEqual(subject.take({ type: "timer", timer: "ack" }).effects, []);
});

test("a command settles by its reply or its error", () => {
  const subject = new Subject().live();
  subject.take({ type: "command", ref: "7", command: { type: "read", id: "a" } });
  assert.deepEqual(subject.get("send"), [{ type: "send", frame: { type: "read", id: "a", ref: "7" } }]);
  assert.deepEqual(subject.frame({ type: "reply", ref: "7", cursor: "1.9" }).get("settle")[0]?.failure, null);
  assert.deepEqual(subject.frame({ type: "reply", ref: "7", cursor: "1.9" }).get("settle"), [], "once");
  subject.take({ type: "command", ref: "8", command: { type: "read", id: "b" } });
  const problem = { type: "not-found", title: "x", status: 404, detail: "no such notification" };
  assert.deepEqual(subject.frame({ type: "error", ref: "8", problem }).get("settle")[0]?.failure?.problem, problem);
});

test("commands cut off by a disconnect are sent again in order, a bulk mark up to where it was", () => {
  const subject = new Subject().live();
  subject.take({ type: "command", ref: "1", command: { type: "read", id: "a" } });
  subject.take({ type: "command", ref: "2", command: { type: "read_all", up_to: "1.6" } });
  subject.closed(1006).take({ type: "command", ref: "3", command: { type: "unread", id: "a" } });
  assert.deepEqual(subject.get("send"), []);
  subject.take({ type: "timer", timer: "retry" }).welcomed();
  const sent = subject.get("send").map(({ frame }) => frame);
  const all = { type: "read_all", up_to: "1.6", ref: "2" };
  assert.deepEqual(sent, [{ type: "read", id: "a", ref: "1" }, all, { type: "unread", id: "a", ref: "3" }]);
});

test("too many commands are refused, and more than the server takes are sent later", () => {
  const subject = new Subject().live();
  const command = (ref: number) => subject.take({ type: "command", ref: `${ref}`, command: { type: "read", id: "a" } });
  for (let ref = 0; ref < PENDING_MAX; ref += 1) assert.equal(command(ref).get("send").length, 1);
  assert.match(command(PENDING_MAX).get("settle")[0]?.failure?.message ?? "", /wait for their reply/);

  for (let ref = 0; ref < BURST; ref += 1) subject.frame({ type: "reply", ref: `${ref}`, cursor: "1.9" });
  assert.deepEqual(command(200).get("send"), []);
  assert.equal(subject.take({ type: "timer", timer: "refill" }).get("send").length, 1);
  assert.equal(subject.state.budget, REFILL - 1);
});

test("a stop says goodbye and rejects what waits; nothing happens after it", () => {
  const subject = new Subject().live().event("1.7", "created", item("a"));
  const { turn } = subject.state;
  subject.take({ type: "command", ref: "1", command: { type: "read", id: "a" } }).take({ type: "stop" });
  assert.deepEqual(subject.get("send"), [{ type: "send", frame: { type: "ack", cursor: "1.7" } }]);
  assert.equal(subject.get("settle").length, 1);
  for (const timer of ["retry", "silence", "ack", "refill"] as const) {
    assert.deepEqual(subject.take({ type: "timer", timer }).get("connect"), []);
  }
  assert.equal(subject.take({ type: "closed", turn, code: 1000 }).state.phase, "idle");
  assert.equal(subject.take({ type: "token", token: "late" }).state.phase, "idle");
  assert.equal(subject.take({ type: "start" }).get("connect")[0]?.cursor, "1.7", "and a start goes on from there");
});

test("frames of a newer server are passed over", () => {
  const subject = new Subject().live();
  const { inbox } = subject.state;
  subject.frame({ type: "party", cursor: "1.99" } as unknown as ServerFrame);
  assert.equal(subject.state.inbox, inbox);
});
