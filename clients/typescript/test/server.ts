// A model of the server for one user: a log whose every change carries the item and the counts after it, pages of the
// inbox, and connections with a queue in each direction. It can be cut off anywhere and lose its newest history.

import { isActive } from "../src/inbox.js";
import type { ClientFrame, Command, EventFrame, InboxItem, InboxPage, ServerFrame } from "../src/protocol.js";

const PAGE = 3;

/** Everything after one change. `order` is the list, newest first. */
interface Moment {
  readonly frame: EventFrame | null;
  readonly items: ReadonlyMap<string, InboxItem>;
  readonly order: readonly string[];
}

/** What is on its way, in order: to the client, and from it. */
export interface Connection {
  readonly toClient: ServerFrame[];
  readonly toServer: ClientFrame[];
}

export class Server {
  /** By position; the first is the empty beginning. */
  #moments: Moment[] = [{ frame: null, items: new Map(), order: [] }];
  /** First positions of the epochs. */
  readonly #epochs = [1];
  #ids = 0;
  readonly connections = new Set<Connection>();

  get head(): number {
    return this.#moments.length - 1;
  }

  get #now(): Moment {
    return this.#moments[this.head]!;
  }

  active(): InboxItem[] {
    const { order, items } = this.#now;
    return order.map((id) => items.get(id)!).filter(isActive);
  }

  known(): string[] {
    return [...this.#now.order];
  }

  standing() {
    return { cursor: `${this.#epochs.length}.${this.head}`, ...counts(this.#now) };
  }

  /** Ids sort the wrong way round on purpose: nobody may rely on them. */
  create(event = "created"): void {
    const id = `ntf_${9_999 - (this.#ids += 1)}`;
    const created_at = new Date(1_800_000_000_000 + this.#ids).toISOString();
    this.#append(event, { id, title: id, body: "", created_at, cursor: "" }, [id, ...this.#now.order]);
  }

  /** Something that is no change of this user's. */
  pass(): void {
    this.#moments.push({ ...this.#now, frame: null });
  }

  end(id: string, event: "cancelled" | "expired"): void {
    const item = this.#now.items.get(id);
    if (item) this.#append(event, item, this.#now.order.filter((known) => known !== id));
  }

  mark(id: string, type: Command["type"] | "wake"): void {
    const item = this.#now.items.get(id);
    if (!item) return;
    const at = "2026-11-22T10:00:00Z";
    const { read_at, seen_at, archived_at, snoozed_until } = item;
    const set = (event: string, change: Partial<InboxItem>, unset?: keyof InboxItem) => {
      const members = Object.entries({ ...item, ...change }).filter(([name]) => name !== unset);
      this.#append(event, Object.fromEntries(members) as unknown as InboxItem, this.#now.order);
    };
    if (type === "seen" && !seen_at) set("seen", { seen_at: at });
    if (type === "read" && !read_at) set("read", { read_at: at, seen_at: seen_at ?? at });
    if (type === "unread" && read_at) set("unread", {}, "read_at");
    if (type === "archive" && !archived_at) set("archived", { archived_at: at, read_at: at, seen_at: at });
    if (type === "unarchive" && archived_at) set("unarchived", {}, "archived_at");
    if (type === "snooze" && !snoozed_until) set("snoozed", { snoozed_until: at });
    if (type === "wake" && snoozed_until) set("woken", {}, "snoozed_until");
  }

  /** A failover to a standby that had less: a new epoch begins, and its positions were used before. */
  lose(events: number): void {
    this.#moments = this.#moments.slice(0, Math.max(1, this.#moments.length - events));
    this.#epochs.push(this.head + 1);
    this.pass();
    for (const { toClient } of this.connections) {
      toClient.push({ type: "reset", reason: "epoch-lost", ...this.standing() });
    }
  }

  page(before: string | null): InboxPage {
    const active = this.active();
    const older = before === null ? active : active.filter(({ id }) => Number(id.slice(4)) > Number(before));
    const items = older.slice(0, PAGE);
    const next = older.length > PAGE ? items[PAGE - 1]!.id.slice(4) : null;
    return { items, next, ...this.standing() };
  }

  beat(): void {
    for (const { toClient } of this.connections) toClient.push({ type: "sync", ...this.standing() });
  }

  connect(cursor: string): Connection {
    const connection: Connection = { toClient: [], toServer: [] };
    const [epoch, position] = cursor.split(".").map(Number) as [number, number];
    const isLost = this.#epochs.slice(epoch).some((first) => position >= first) || position > this.head;
    const from = isLost ? this.head : position;
    const standing = { cursor: `${this.#epochs.length}.${from}`, ...counts(this.#moments[from]!) };
    const greeting = { connection_id: "con_1", user_id: "alice", heartbeat_ms: 25_000 };
    connection.toClient.push({ type: "welcome", ...greeting, ...standing, resumed: !isLost });
    if (isLost) connection.toClient.push({ type: "reset", reason: "epoch-lost", ...standing });
    else for (const { frame } of this.#moments.slice(from + 1)) if (frame) connection.toClient.push(frame);
    connection.toClient.push({ type: "sync", ...this.standing() });
    this.connections.add(connection);
    return connection;
  }

  /** Does what the client asked for first. */
  serve({ toServer, toClient }: Connection): void {
    const frame = toServer.shift();
    if (frame === undefined || frame.type === "ack" || frame.type === "auth") return;
    if ("id" in frame) this.mark(frame.id, frame.type);
    else {
      const upTo = Number(frame.up_to.split(".")[1]);
      const word = frame.type === "read_all" ? "read" : frame.type === "seen_all" ? "seen" : "archive";
      const { items } = this.#moments[Math.min(upTo, this.head)]!;
      this.known().filter((id) => items.has(id)).forEach((id) => this.mark(id, word));
    }
    // Worse than a real one: there a reply follows the frames of what the command did.
    toClient.unshift({ type: "reply", ref: frame.ref, cursor: this.standing().cursor });
  }

  #append(event: string, item: InboxItem, order: readonly string[]): void {
    const cursor = `${this.#epochs.length}.${this.head + 1}`;
    const notification = { ...item, cursor };
    const items = new Map(this.#now.items).set(item.id, notification);
    if (!order.includes(item.id)) items.delete(item.id);
    const moment = { frame: null, items, order };
    const frame: EventFrame = { type: "event", event: `notification.${event}`, cursor, ...counts(moment), notification };
    this.#moments.push({ ...moment, frame });
    for (const { toClient } of this.connections) toClient.push(frame);
  }
}

function counts({ items }: Moment): { unread: number; unseen: number } {
  const active = [...items.values()].filter(isActive);
  return {
    unread: active.filter(({ read_at }) => read_at === undefined).length,
    unseen: active.filter(({ seen_at }) => seen_at === undefined).length,
  };
}
