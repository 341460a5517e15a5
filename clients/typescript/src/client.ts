// The client: carries out what the machine asks for, with a WebSocket, fetch and timers.
//
// Everything that happens becomes an input, one after the other; nothing here decides anything about the protocol.

import { isActive } from "./inbox.js";
import { INITIAL, step, type Effect, type Failure, type Input, type Phase, type State, type Timer } from "./machine.js";
import { CLOSE, SUBPROTOCOL, type Command, type InboxItem, type InboxPage, type Problem } from "./protocol.js";

/** What is used of a WebSocket: the browser's own has it, and so has the package `ws`. */
export interface SocketLike {
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number): void;
}

export interface Options {
  /** Where Tidings is, such as `https://tidings.example.com`. */
  readonly url: string;
  /** Whose inbox: the `sub` of the token. */
  readonly userId: string;
  /** Gives a token that is valid for a while. Called at the start, before one expires, and after one was refused. */
  readonly getToken: () => Promise<string> | string;
  /** Items of a page: 1 to 100. */
  readonly pageSize?: number;
  /** What to use instead of the platform's own. */
  readonly fetch?: typeof fetch;
  readonly openSocket?: (url: string, protocols: string[]) => SocketLike;
  readonly random?: () => number;
}

/** What a user interface shows. A new object after each change, and the same one until then. */
export interface InboxState {
  readonly phase: Phase;
  /** What is loaded of the active items, newest first. */
  readonly items: readonly InboxItem[];
  /** Whether `loadMore` would bring older ones. */
  readonly hasMore: boolean;
  readonly unread: number;
  readonly unseen: number;
  /** Why it gave up, in the phase `failed`. */
  readonly failure: Failure | null;
}

/** A command that was not done, or a client that gave up before it knew. */
export class TidingsError extends Error {
  override readonly name = "TidingsError";
  readonly code: number | undefined;
  readonly problem: Problem | undefined;

  constructor({ message, code, problem }: Failure) {
    super(message);
    this.code = code;
    this.problem = problem;
  }
}

const REQUEST_TIMEOUT_MS = 15_000;

export class TidingsClient {
  readonly #options: Options;
  readonly #timers = new Map<Timer, ReturnType<typeof setTimeout>>();
  readonly #promises = new Map<string, { resolve: () => void; reject: (error: TidingsError) => void }>();
  readonly #listeners = new Set<(state: InboxState) => void>();
  readonly #waiting: Input[] = [];
  #machine: State = INITIAL;
  #shown: InboxState = shown(INITIAL);
  #socket: SocketLike | null = null;
  #older: Promise<void> | null = null;
  #isBusy = false;
  #refs = 0;

  constructor(options: Options) {
    this.#options = options;
  }

  get state(): InboxState {
    return this.#shown;
  }

  /** Calls the listener after each change. What is returned ends that. */
  subscribe(listener: (state: InboxState) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Begins; begins again after `close` or a failure; makes an attempt that is due later now. */
  start(): void {
    this.#take({ type: "start" });
  }

  /** Ends the connection. What is shown stays, and `start` goes on from there. Commands under way are rejected. */
  close(): void {
    this.#take({ type: "stop" });
  }

  /** Each command resolves when the server has done it, however many connections that takes. */
  read(id: string): Promise<void> {
    return this.#command({ type: "read", id });
  }

  unread(id: string): Promise<void> {
    return this.#command({ type: "unread", id });
  }

  seen(id: string): Promise<void> {
    return this.#command({ type: "seen", id });
  }

  archive(id: string): Promise<void> {
    return this.#command({ type: "archive", id });
  }

  unarchive(id: string): Promise<void> {
    return this.#command({ type: "unarchive", id });
  }

  snooze(id: string, until: Date): Promise<void> {
    return this.#command({ type: "snooze", id, until: until.toISOString() });
  }

  /** All that this client could know of, of a category or of any; what arrives while it is done stays unread. */
  readAll(category?: string): Promise<void> {
    return this.#all("read_all", category);
  }

  seenAll(category?: string): Promise<void> {
    return this.#all("seen_all", category);
  }

  archiveAll(category?: string): Promise<void> {
    return this.#all("archive_all", category);
  }

  /** Loads the next older items, if there are any. The state need not change: none of them may be active any more. */
  loadMore(): Promise<void> {
    if (this.#older === null) this.#take({ type: "more" });
    return this.#older ?? Promise.resolve();
  }

  async #all(type: "read_all" | "seen_all" | "archive_all", category?: string): Promise<void> {
    const { cursor } = this.#machine.inbox;
    if (cursor === null) throw new TidingsError({ message: "the inbox is not loaded" });
    return this.#command({ type, up_to: cursor, ...(category === undefined ? {} : { category }) });
  }

  #command(command: Command): Promise<void> {
    const ref = String((this.#refs += 1));
    return new Promise((resolve, reject) => {
      this.#promises.set(ref, { resolve, reject });
      this.#take({ type: "command", ref, command });
    });
  }

  /** One input after the other: what an effect brings about at once waits until the step is over. */
  #take(input: Input): void {
    this.#waiting.push(input);
    if (this.#isBusy) return;
    this.#isBusy = true;
    try {
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
        const { state, effects } = step(this.#machine, next);
        this.#machine = state;
        effects.forEach((effect) => this.#carryOut(effect));
      }
    } finally {
      this.#isBusy = false;
    }
    this.#tell();
  }

  #tell(): void {
    const next = shown(this.#machine, this.#shown);
    if (next === this.#shown) return;
    this.#shown = next;
    // A listener that throws is a fault of the page, and no reason to fall out of step with the server.
    this.#listeners.forEach((listener) => queueMicrotask(() => this.#listeners.has(listener) && listener(next)));
  }

  #carryOut(effect: Effect): void {
    switch (effect.type) {
      case "get_token":
        return void this.#getToken();
      case "load":
        return void this.#load(effect.turn, effect.token);
      case "load_older":
        this.#older = this.#loadOlder(effect);
        return;
      case "connect":
        return this.#connect(effect);
      case "send":
        return this.#socket?.send(JSON.stringify(effect.frame));
      case "disconnect":
        return this.#disconnect();
      case "set_timer": {
        const { random = Math.random } = this.#options;
        clearTimeout(this.#timers.get(effect.timer));
        const ms = effect.jitter ? random() * effect.ms : effect.ms;
        const fire = () => this.#take({ type: "timer", timer: effect.timer });
        this.#timers.set(effect.timer, setTimeout(fire, ms));
        return;
      }
      case "clear_timer":
        return clearTimeout(this.#timers.get(effect.timer));
      case "settle": {
        const promise = this.#promises.get(effect.ref);
        this.#promises.delete(effect.ref);
        if (effect.failure) promise?.reject(new TidingsError(effect.failure));
        else promise?.resolve();
      }
    }
  }

  async #getToken(): Promise<void> {
    try {
      const token = await this.#options.getToken();
      this.#take({ type: "token", token });
    } catch {
      this.#take({ type: "token_failed" });
    }
  }

  async #load(turn: number, token: string): Promise<void> {
    try {
      this.#take({ type: "page", turn, page: await this.#page(token, {}) });
    } catch (error) {
      const { failure, retryInMs } = asFailure(error);
      this.#take({ type: "page_failed", turn, failure, ...(retryInMs === undefined ? {} : { retryInMs }) });
    }
  }

  async #loadOlder({ before, cursor, token }: Extract<Effect, { type: "load_older" }>): Promise<void> {
    // What we have been told by now must be in the page; what we are told from now on, the machine adds.
    const request = this.#page(token, { before }, { "tidings-min-cursor": cursor });
    const answer = await request.catch((error: unknown) => new TidingsError(asFailure(error).failure));
    // From here on the next page may be asked for, also by a listener that is told of this one.
    this.#older = null;
    const isFailure = answer instanceof TidingsError;
    this.#take({ type: "older", before, page: isFailure ? null : answer });
    if (isFailure) throw answer;
  }

  async #page(token: string, query: Record<string, string>, headers: Record<string, string> = {}): Promise<InboxPage> {
    const { url, userId, pageSize = 20, fetch = globalThis.fetch } = this.#options;
    const parameters = new URLSearchParams({ limit: String(pageSize), ...query });
    const path = `${url.replace(/\/$/, "")}/v1/users/${encodeURIComponent(userId)}/inbox?${parameters}`;
    const response = await fetch(path, {
      headers: { authorization: `Bearer ${token}`, ...headers },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    if (!response.ok) throw await refusal(response);
    return (await response.json()) as InboxPage;
  }

  #connect({ turn, token, cursor, connectionId }: Extract<Effect, { type: "connect" }>): void {
    const { url, openSocket = (url, protocols) => new WebSocket(url, protocols) } = this.#options;
    const query = new URLSearchParams({ cursor });
    if (connectionId !== null) query.set("connection_id", connectionId);
    const address = `${url.replace(/\/$/, "").replace(/^http/, "ws")}/v1/ws?${query}`;
    try {
      // A browser sends no headers with a socket, so the token is offered as a subprotocol.
      const socket = openSocket(address, [SUBPROTOCOL, `bearer.${token}`]);
      socket.onmessage = ({ data }: { data: string }) => this.#take(parsed(data, turn));
      socket.onclose = ({ code }: { code: number }) => this.#take({ type: "closed", turn, code });
      socket.onerror = () => {}; // A close follows.
      this.#socket = socket;
    } catch {
      // The token cannot be written as a subprotocol: no server will take it.
      this.#take({ type: "closed", turn, code: CLOSE.unauthorized });
    }
  }

  #disconnect(): void {
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    // It may take its time to close; we do not wait for it.
    socket.onmessage = socket.onclose = null;
    socket.close(CLOSE.normal);
  }
}

/** A connection that brings anything but JSON is broken. */
function parsed(text: string, turn: number): Input {
  try {
    return { type: "frame", turn, frame: JSON.parse(text) };
  } catch {
    return { type: "closed", turn, code: CLOSE.notText };
  }
}

/** The same object while nothing of it has changed, so that a user interface can compare. */
function shown(machine: State, before?: InboxState): InboxState {
  const { phase, failure, inbox } = machine;
  const { unread, unseen } = inbox;
  const active = inbox.items.filter(isActive);
  const isSame = before?.items.length === active.length && active.every((item, at) => item === before.items[at]);
  const items = isSame ? before.items : active;
  const next: InboxState = { phase, items, hasMore: inbox.next !== null, unread, unseen, failure };
  const members = Object.keys(next) as (keyof InboxState)[];
  return before && members.every((member) => next[member] === before[member]) ? before : next;
}

/** An answer that is not a page. */
class Refused extends Error {
  constructor(
    readonly failure: Failure,
    readonly retryInMs?: number,
  ) {
    super(failure.message);
  }
}

async function refusal(response: Response): Promise<Refused> {
  const unknown = { type: "about:blank", title: response.statusText, status: response.status, detail: "" };
  const problem: Problem = await response.json().catch(() => unknown);
  const message = problem.detail || `the server answered ${response.status}`;
  const seconds = Number(response.headers.get("retry-after") ?? NaN);
  return new Refused({ message, problem: { ...problem, status: response.status } }, seconds >= 0 ? seconds * 1000 : undefined);
}

function asFailure(error: unknown): { failure: Failure; retryInMs?: number | undefined } {
  return error instanceof Refused ? error : { failure: { message: String(error) } };
}
