// Random walks: whatever is cut, delayed, lost or reset on the way, the client ends where the server is.

import assert from "node:assert/strict";
import { test } from "node:test";

import { isActive } from "../src/inbox.js";
import { INITIAL, step, type Effect, type Input, type State, type Timer } from "../src/machine.js";
import type { InboxItem, InboxPage } from "../src/protocol.js";
import { Server, type Connection } from "./server.js";

const WALKS = 1_000;
const STEPS = 300;
const CODES = [1006, 4001, 4002, 4003, 4004, 4005, 4006];

/** A request on its way: read by the server at one time, answered at another. */
interface Request {
  readonly answer: (page: InboxPage | null) => Input;
  readonly before: string | null;
  page: InboxPage | null;
}

class Walk {
  readonly server = new Server();
  readonly settled = new Map<string, boolean>();
  state: State = INITIAL;
  #connection: { turn: number; wires: Connection } | null = null;
  #requests: Request[] = [];
  #tokens = 0;
  #timers = new Set<Timer>();
  #refs = 0;

  constructor(readonly random: () => number) {}

  take(input: Input): void {
    const { state, effects } = step(this.state, input);
    this.state = state;
    effects.forEach((effect) => this.#carryOut(effect));
  }

  #carryOut(effect: Effect): void {
    switch (effect.type) {
      case "get_token":
        this.#tokens += 1;
        return;
      case "load": {
        const { turn } = effect;
        const failed: Input = { type: "page_failed", turn, failure: { message: "cut" } };
        const answer = (page: InboxPage | null): Input => (page ? { type: "page", turn, page } : failed);
        this.#requests.push({ answer, before: null, page: null });
        return;
      }
      case "load_older": {
        const { before } = effect;
        this.#requests.push({ answer: (page) => ({ type: "older", before, page }), before, page: null });
        return;
      }
      case "connect":
        assert.equal(this.#connection, null, "one connection at a time");
        this.#connection = { turn: effect.turn, wires: this.server.connect(effect.cursor) };
        return;
      case "disconnect":
        if (this.#connection) this.server.connections.delete(this.#connection.wires);
        this.#connection = null;
        return;
      case "send":
        assert.ok(this.#connection, "nothing is sent without a connection");
        this.#connection.wires.toServer.push(effect.frame);
        return;
      case "set_timer":
        return void this.#timers.add(effect.timer);
      case "clear_timer":
        return void this.#timers.delete(effect.timer);
      case "settle":
        assert.equal(this.settled.get(effect.ref), false, "settled once");
        this.settled.set(effect.ref, true);
    }
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.random() * from.length)];
  }

  #fire(...timers: Timer[]): boolean {
    const due = timers.filter((timer) => this.#timers.has(timer));
    const timer = this.pick(due);
    if (timer === undefined) return false;
    this.#timers.delete(timer);
    this.take({ type: "timer", timer });
    return true;
  }

  /** The network moves one thing on. False where nothing is on its way. */
  progress(): boolean {
    const { wires, turn } = this.#connection ?? { wires: null, turn: 0 };
    const request = this.pick(this.#requests);
    const moves: (() => void)[] = [];
    if (this.#tokens > 0) moves.push(() => ((this.#tokens -= 1), this.take({ type: "token", token: "t" })));
    if (request && !request.page) moves.push(() => (request.page = this.server.page(request.before)));
    if (request?.page) {
      moves.push(() => {
        this.#requests = this.#requests.filter((other) => other !== request);
        this.take(request.answer(request.page));
      });
    }
    if (wires && wires.toServer.length > 0) moves.push(() => this.server.serve(wires));
    if (wires && wires.toClient.length > 0) {
      moves.push(() => this.take({ type: "frame", turn, frame: wires.toClient.shift()! }));
    }
    const move = this.pick(moves);
    move?.();
    return move !== undefined;
  }

  command(): void {
    const ref = String((this.#refs += 1));
    const id = this.pick(this.server.known());
    const { cursor } = this.state.inbox;
    const all = this.pick(["read_all", "seen_all", "archive_all"] as const)!;
    const one = this.pick(["read", "unread", "seen", "archive", "unarchive"] as const)!;
    this.settled.set(ref, false);
    if (cursor !== null && this.random() < 0.1) {
      this.take({ type: "command", ref, command: { type: all, up_to: cursor } });
    } else if (id !== undefined) this.take({ type: "command", ref, command: { type: one, id } });
    else this.settled.delete(ref);
  }

  /** Somebody else does something. */
  happen(): void {
    const id = this.pick(this.server.known());
    const marks = ["read", "unread", "seen", "archive", "unarchive", "snooze", "wake"] as const;
    const kind = this.random();
    if (kind < 0.3 || id === undefined) this.server.create(this.pick(["created", "released"]));
    else if (kind < 0.8) this.server.mark(id, this.pick(marks)!);
    else if (kind < 0.9) this.server.end(id, this.pick(["cancelled", "expired"] as const)!);
    else if (kind < 0.95) this.server.pass();
    else this.server.beat();
  }

  disturb(): void {
    const kind = this.random();
    const turn = this.#connection?.turn;
    if (kind < 0.5 && turn !== undefined) this.take({ type: "closed", turn, code: this.pick(CODES)! });
    else if (kind < 0.6) this.#fire("silence");
    else if (kind < 0.7) this.server.lose(Math.floor(this.random() * 4));
    else if (kind < 0.8) this.take(this.#lostRequest() ?? { type: "timer", timer: "ack" });
    else if (kind < 0.9) this.take({ type: "stop" });
    this.take({ type: "start" });
  }

  #lostRequest(): Input | undefined {
    const request = this.#requests.shift();
    return request?.answer(null);
  }

  anything(): void {
    const kind = this.random();
    if (kind < 0.5) this.progress();
    else if (kind < 0.7) this.happen();
    else if (kind < 0.8) this.command();
    else if (kind < 0.9) this.#fire("retry", "ack", "refill");
    else if (kind < 0.95) this.take({ type: "more" });
    else this.disturb();
  }

  /** Until everything has arrived, and all older items are loaded. */
  settle(): void {
    this.take({ type: "start" });
    do {
      while (this.progress() || this.#fire("retry", "ack", "refill"));
      this.take({ type: "more" });
    } while (this.#requests.length > 0);
    this.server.beat();
    while (this.progress());
  }
}

test("a client ends with the items and counts of the server, whatever happens on the way", () => {
  const byId = (items: readonly InboxItem[]) => [...items].sort((a, b) => a.id.localeCompare(b.id));
  for (let seed = 1; seed <= WALKS; seed += 1) {
    const walk = new Walk(randomFrom(seed));
    for (let count = 0; count < STEPS; count += 1) walk.anything();
    walk.settle();
    const { inbox, phase } = walk.state;
    assert.equal(phase, "live", `walk ${seed}`);
    assert.deepEqual(byId(inbox.items.filter(isActive)), byId(walk.server.active()), `walk ${seed}`);
    const { cursor, unread, unseen } = inbox;
    assert.deepEqual({ cursor, unread, unseen }, walk.server.standing(), `walk ${seed}`);
    assert.ok([...walk.settled.values()].every(Boolean), `walk ${seed}: a command never settled`);
  }
});

/** The same numbers every time (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
