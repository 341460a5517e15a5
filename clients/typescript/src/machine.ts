// The protocol as a pure state machine: `step(state, input)` gives the next state and what is to be done about it.
//
// No clock, no randomness, no IO: timers, jitter, sockets and requests are effects, carried out by `client.ts`, and
// what comes of them are inputs. An answer carries the number of the turn that asked; a turn ends with its connection,
// so what arrives late from a former one is passed over.

import { append, apply, EMPTY, fromPage, standAt, type Inbox } from "./inbox.js";
import { CLOSE } from "./protocol.js";
import type { ClientFrame, Command, EventFrame, InboxPage, Problem, ServerFrame } from "./protocol.js";

/** Commands that may wait for their reply; more are refused. */
export const PENDING_MAX = 100;
/** Commands sent at once, and how many more each second. The server allows 200 frames, and 50 more each second. */
export const BURST = 100;
export const REFILL = 40;
export const ACK_EVERY_MS = 250;
const REFILL_EVERY_MS = 1_000;
const WELCOME_WITHIN_MS = 15_000;
const BACKOFF_BASE_MS = 500;
const BACKOFF_MAX_MS = 30_000;

export type Phase =
  | "idle" // not started, or closed by the user
  | "authenticating" // waiting for a token
  | "loading" // waiting for the inbox
  | "connecting" // waiting for the welcome
  | "live"
  | "waiting" // until the next attempt
  | "failed"; // it will not try again by itself; see `failure`

/** Why a client gave up, or why a command was not done. */
export interface Failure {
  readonly message: string;
  /** The close code, where a socket ended with one. */
  readonly code?: number;
  readonly problem?: Problem;
}

interface Pending {
  readonly ref: string;
  readonly command: Command;
  /** On this connection. */
  readonly sent: boolean;
}

export interface State {
  readonly phase: Phase;
  readonly inbox: Inbox;
  readonly failure: Failure | null;
  readonly turn: number;
  readonly token: string | null;
  /** Presented on reconnect, so that the new connection takes the place of the old one. */
  readonly connectionId: string | null;
  readonly heartbeatMs: number;
  /** Attempts since the server last said that we are in sync. */
  readonly failures: number;
  /** A refused token was replaced since then; another refusal is final. */
  readonly refreshed: boolean;
  /** When a server that goes away wants us back. */
  readonly retryInMs: number | null;
  /** In the order in which they were given. */
  readonly pending: readonly Pending[];
  readonly budget: number;
  readonly ackDue: boolean;
  /** While older items are on their way: what was told meanwhile. */
  readonly changed: ReadonlyMap<string, EventFrame> | null;
}

export type Timer = "retry" | "silence" | "ack" | "refill";

export type Input =
  | { readonly type: "start" }
  | { readonly type: "stop" }
  | { readonly type: "token"; readonly token: string }
  | { readonly type: "token_failed" }
  | { readonly type: "page"; readonly turn: number; readonly page: InboxPage }
  | { readonly type: "page_failed"; readonly turn: number; readonly failure: Failure; readonly retryInMs?: number }
  | { readonly type: "frame"; readonly turn: number; readonly frame: ServerFrame }
  | { readonly type: "closed"; readonly turn: number; readonly code: number }
  | { readonly type: "timer"; readonly timer: Timer }
  | { readonly type: "command"; readonly ref: string; readonly command: Command }
  | { readonly type: "more" }
  | { readonly type: "older"; readonly before: string; readonly page: InboxPage | null };

export type Effect =
  | { readonly type: "get_token" }
  | { readonly type: "load"; readonly turn: number; readonly token: string }
  | { readonly type: "load_older"; readonly before: string; readonly cursor: string; readonly token: string }
  | {
      readonly type: "connect";
      readonly turn: number;
      readonly token: string;
      readonly cursor: string;
      readonly connectionId: string | null;
    }
  | { readonly type: "send"; readonly frame: ClientFrame }
  | { readonly type: "disconnect" }
  /** Replaces the timer of that name. `jitter`: any time up to `ms`, all equally likely. */
  | { readonly type: "set_timer"; readonly timer: Timer; readonly ms: number; readonly jitter: boolean }
  | { readonly type: "clear_timer"; readonly timer: Timer }
  /** The promise of a command: done, or not for this reason. */
  | { readonly type: "settle"; readonly ref: string; readonly failure: Failure | null };

export const INITIAL: State = {
  phase: "idle",
  inbox: EMPTY,
  failure: null,
  turn: 0,
  token: null,
  connectionId: null,
  heartbeatMs: 25_000,
  failures: 0,
  refreshed: false,
  retryInMs: null,
  pending: [],
  budget: BURST,
  ackDue: false,
  changed: null,
};

export function step(state: State, input: Input): { state: State; effects: readonly Effect[] } {
  const turn = new Step(state);
  turn.take(input);
  return { state: turn.state, effects: turn.effects };
}

/** One step: a copy of the state that its rules change, and the effects they ask for. */
class Step {
  readonly state: { -readonly [K in keyof State]: State[K] };
  readonly effects: Effect[] = [];

  constructor(state: State) {
    this.state = { ...state };
  }

  take(input: Input): void {
    const { state } = this;
    if ("turn" in input && input.turn !== state.turn) return;
    switch (input.type) {
      case "start":
        return this.start();
      case "stop":
        return this.stop();
      case "token":
        return this.haveToken(input.token);
      case "token_failed":
        // A renewal that fails is tried again when the old token is refused.
        return state.phase === "authenticating" ? this.retry() : undefined;
      case "page":
        state.inbox = fromPage(input.page);
        return this.proceed();
      case "page_failed":
        return this.loadFailed(input.failure, input.retryInMs);
      case "frame":
        this.effects.push(timer("silence", 2 * state.heartbeatMs));
        return this.receive(input.frame);
      case "closed":
        return this.closed(input.code);
      case "timer":
        return this.fired(input.timer);
      case "command":
        return this.command(input.ref, input.command);
      case "more":
        return this.more();
      case "older":
        return this.older(input.before, input.page);
    }
  }

  // --- getting there: a token, the inbox, a connection ---

  private start(): void {
    const { state } = this;
    if (state.phase !== "idle" && state.phase !== "failed" && state.phase !== "waiting") return;
    this.effects.push({ type: "clear_timer", timer: "retry" });
    state.failure = null;
    state.failures = 0;
    state.refreshed = false;
    state.retryInMs = null;
    this.proceed();
  }

  /** Does what is missing next. Everything that ends a connection leads back here, sooner or later. */
  private proceed(): void {
    const { state, effects } = this;
    const { token, connectionId } = state;
    const { cursor } = state.inbox;
    const turn = (state.turn += 1);
    if (token === null) {
      state.phase = "authenticating";
      effects.push({ type: "get_token" });
    } else if (cursor === null) {
      state.phase = "loading";
      effects.push({ type: "load", turn, token });
    } else {
      state.phase = "connecting";
      effects.push({ type: "connect", turn, token, cursor, connectionId });
      effects.push(timer("silence", WELCOME_WITHIN_MS));
    }
  }

  private haveToken(token: string): void {
    const { state } = this;
    if (state.phase === "idle" || state.phase === "failed") return;
    state.token = token;
    if (state.phase === "authenticating") this.proceed();
    if (state.phase === "live") this.effects.push({ type: "send", frame: { type: "auth", token, ref: "auth" } });
  }

  private loadFailed(failure: Failure, retryInMs: number | undefined): void {
    const status = failure.problem?.status;
    const isTemporary = status === undefined || status === 429 || status >= 500;
    if (status === 401) return this.refused(failure);
    if (!isTemporary) return this.fail(failure);
    this.state.retryInMs = retryInMs ?? null;
    this.retry();
  }

  /** A token that nobody accepts: a fresh one may do, once. */
  private refused(failure: Failure): void {
    if (this.state.refreshed) return this.fail(failure);
    this.state.refreshed = true;
    this.state.token = null;
    this.proceed();
  }

  // --- frames ---

  private receive(frame: ServerFrame): void {
    const { state, effects } = this;
    switch (frame.type) {
      case "welcome":
        state.phase = "live";
        state.connectionId = frame.connection_id;
        state.heartbeatMs = frame.heartbeat_ms;
        effects.push(timer("silence", 2 * frame.heartbeat_ms));
        // We always present a cursor. A server that does not resume from it cannot say what we missed.
        if (!frame.resumed) return this.reset();
        state.inbox = standAt(state.inbox, frame);
        return this.flush();
      case "event":
        state.inbox = apply(state.inbox, frame);
        if (state.changed) state.changed = new Map(state.changed).set(frame.notification.id, frame);
        if (!state.ackDue) effects.push(timer("ack", ACK_EVERY_MS));
        state.ackDue = true;
        return;
      case "sync":
        state.inbox = standAt(state.inbox, frame);
        state.failures = 0;
        state.refreshed = false;
        return;
      case "reset":
        return this.reset();
      case "token_expiring":
        effects.push({ type: "get_token" });
        return;
      case "reply":
        // Its cursor says where the command took effect, and has no counts. We resume only from one that has: then it
        // does not matter whether the frames of what the command did came before the reply.
        return this.settle(frame.ref, null);
      case "error":
        // A refused renewal: the connection lives as long as the old token does, then a fresh one is needed.
        if (frame.ref === "auth") state.token = null;
        if (frame.ref !== undefined) {
          this.settle(frame.ref, { message: frame.problem.detail, problem: frame.problem });
        }
        return;
      case "closing":
        state.retryInMs = frame.retry_in_ms ?? null;
        return this.ack();
      default: // From a newer server.
    }
  }

  /**
   * What we have is not the history any more: load the inbox and go on from its cursor, on a new connection.
   *
   * The old connection would go on, too, but not from there: the inbox is read while its frames arrive, and as cursors
   * are opaque nobody can say which of those the page already has. Applying them all would end in the right place,
   * by way of states that are over. A new connection begins exactly at the page, by the rule of every reconnect.
   * The old items stay to be seen until the page replaces them all at once; their cursor goes now, so that nothing
   * resumes from it.
   */
  private reset(): void {
    const { state } = this;
    state.inbox = { ...state.inbox, cursor: null };
    state.changed = null;
    this.leave();
    // A second one before we were in sync is no news but a fault: not so fast then.
    if (state.failures > 0) return this.retry();
    state.failures = 1;
    this.proceed();
  }

  // --- the end of a connection ---

  private closed(code: number): void {
    this.leave();
    const failure = { message: `the server closed the connection (${code})`, code };
    if (code === CLOSE.unauthorized) return this.refused(failure);
    if (code > CLOSE.unauthorized && code <= 4999) return this.fail(failure);
    if (code === CLOSE.tokenExpired) this.state.token = null;
    this.retry();
  }

  /** Lets go of the connection, if there is one. Marks that wait for a reply are sent again on the next. */
  private leave(): void {
    const { state, effects } = this;
    effects.push({ type: "disconnect" });
    for (const name of ["silence", "ack", "refill"] as const) effects.push({ type: "clear_timer", timer: name });
    state.turn += 1;
    state.ackDue = false;
    state.budget = BURST;
    state.pending = state.pending.map((pending) => ({ ...pending, sent: false }));
  }

  /** Full jitter: clients that were cut off together come back apart. */
  private retry(): void {
    const { state } = this;
    const backoff = Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** state.failures);
    this.effects.push({ ...timer("retry", state.retryInMs ?? backoff), jitter: state.retryInMs === null });
    state.phase = "waiting";
    state.failures += 1;
    state.retryInMs = null;
  }

  private fail(failure: Failure): void {
    this.leave();
    this.state.phase = "failed";
    this.state.failure = failure;
    this.abandon(failure);
  }

  private stop(): void {
    this.ack();
    this.leave();
    this.effects.push({ type: "clear_timer", timer: "retry" });
    this.state.phase = "idle";
    this.abandon({ message: "the client was closed" });
  }

  private abandon(failure: Failure): void {
    for (const { ref } of this.state.pending) this.effects.push({ type: "settle", ref, failure });
    this.state.pending = [];
  }

  private fired(name: Timer): void {
    const { state } = this;
    switch (name) {
      case "retry":
        return state.phase === "waiting" ? this.proceed() : undefined;
      case "silence":
        // A connection can be dead for long before anybody closes it.
        if (state.phase !== "live" && state.phase !== "connecting") return;
        this.leave();
        return this.retry();
      case "ack":
        return this.ack();
      case "refill":
        state.budget = Math.min(BURST, state.budget + REFILL);
        if (state.budget < BURST) this.effects.push(timer("refill", REFILL_EVERY_MS));
        return this.flush();
    }
  }

  // --- what we say ---

  /** "It arrived here": tells senders that nothing needs to be escalated. */
  private ack(): void {
    const { state, effects } = this;
    if (state.ackDue && state.phase === "live" && state.inbox.cursor !== null) {
      effects.push({ type: "send", frame: { type: "ack", cursor: state.inbox.cursor } });
    }
    state.ackDue = false;
  }

  private command(ref: string, command: Command): void {
    const { state } = this;
    const isOver = state.phase === "idle" || state.phase === "failed";
    const refusal = isOver ? "the client is not running" : `${PENDING_MAX} commands wait for their reply already`;
    if (isOver || state.pending.length >= PENDING_MAX) {
      this.effects.push({ type: "settle", ref, failure: { message: refusal } });
      return;
    }
    state.pending = [...state.pending, { ref, command, sent: false }];
    this.flush();
  }

  /**
   * Sends what was not sent on this connection, in order. Whether a command that was cut off had been done is not
   * known, and need not be: a mark done twice is done once, and a bulk mark names the cursor it goes up to.
   */
  private flush(): void {
    const { state, effects } = this;
    if (state.phase !== "live") return;
    const isRested = state.budget === BURST;
    state.pending = state.pending.map((pending) => {
      if (pending.sent || state.budget === 0) return pending;
      state.budget -= 1;
      effects.push({ type: "send", frame: { ...pending.command, ref: pending.ref } });
      return { ...pending, sent: true };
    });
    if (isRested && state.budget < BURST) effects.push(timer("refill", REFILL_EVERY_MS));
  }

  private settle(ref: string, failure: Failure | null): void {
    const { state } = this;
    if (!state.pending.some((pending) => pending.ref === ref)) return;
    state.pending = state.pending.filter((pending) => pending.ref !== ref);
    this.effects.push({ type: "settle", ref, failure });
  }

  // --- older items ---

  private more(): void {
    const { state, effects } = this;
    const { next: before, cursor } = state.inbox;
    if (state.changed || before === null || cursor === null || state.token === null) return;
    state.changed = new Map();
    effects.push({ type: "load_older", before, cursor, token: state.token });
  }

  /** A reset drops `changed`, and with it the page that was on its way. */
  private older(before: string, page: InboxPage | null): void {
    const { state } = this;
    if (state.changed === null || state.inbox.next !== before) return;
    if (page) state.inbox = append(state.inbox, page, state.changed);
    state.changed = null;
  }
}

function timer(name: Timer, ms: number): Extract<Effect, { type: "set_timer" }> {
  return { type: "set_timer", timer: name, ms, jitter: false };
}
