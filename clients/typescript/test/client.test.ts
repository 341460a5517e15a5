// The client around the machine: what it sends over which wire, and what its user sees.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { TidingsClient, TidingsError, type InboxState, type SocketLike } from "../src/index.js";

const PAGE = { items: [], next: null, unread: 0, unseen: 0, cursor: "1.5" };
const GREETING = { connection_id: "con_1", user_id: "a b", heartbeat_ms: 25_000, resumed: true };
const WELCOME = { type: "welcome", cursor: "1.5", unread: 0, unseen: 0, ...GREETING };
const ITEM = { id: "ntf_1", title: "Hello", body: "", created_at: "2026-11-22T10:00:00Z", cursor: "1.6" };
const CREATED = { type: "event", event: "notification.created", cursor: "1.6", unread: 1, unseen: 1, notification: ITEM };

const LIMIT = { timeout: 10_000 };
const clients: TidingsClient[] = [];

// A client that is left open would keep its process alive.
afterEach(() => clients.splice(0).forEach((client) => client.close()));

class FakeSocket implements SocketLike {
  onmessage: SocketLike["onmessage"] = null;
  onclose: SocketLike["onclose"] = null;
  onerror: SocketLike["onerror"] = null;
  readonly sent: any[] = [];
  closed = false;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {}

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.closed = true;
  }

  receive(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
}

/** A client whose server is this test. */
function subject(answer: () => Response = () => Response.json(PAGE)) {
  const sockets: FakeSocket[] = [];
  const requests: [string, RequestInit][] = [];
  const client = new TidingsClient({
    url: "https://tidings.example.com/",
    userId: "a b",
    getToken: () => "t",
    fetch: (async (url: string, init: RequestInit) => (requests.push([url, init]), answer())) as typeof fetch,
    openSocket: (url, protocols) => {
      const socket = new FakeSocket(url, protocols);
      sockets.push(socket);
      return socket;
    },
    random: () => 0,
  });
  clients.push(client);
  const until = (holds: (state: InboxState) => boolean) => {
    return new Promise<void>((resolve) => {
      if (holds(client.state)) return resolve();
      const end = client.subscribe((state) => holds(state) && (end(), resolve()));
    });
  };
  const live = async () => {
    client.start();
    await until(({ phase }) => phase === "connecting");
    sockets.at(-1)?.receive(WELCOME);
  };
  return { client, sockets, requests, until, live };
}

test("it reads the inbox with the token and opens a socket that offers it", LIMIT, async () => {
  const { client, sockets, requests, live } = subject();
  await live();
  const [[url, init]] = requests as [[string, RequestInit]];
  assert.equal(url, "https://tidings.example.com/v1/users/a%20b/inbox?limit=20");
  assert.deepEqual(init.headers, { authorization: "Bearer t" });
  assert.equal(sockets[0]?.url, "wss://tidings.example.com/v1/ws?cursor=1.5");
  assert.deepEqual(sockets[0]?.protocols, ["tidings.v1", "bearer.t"]);
  assert.equal(client.state.phase, "live");
  client.close();
  assert.ok(sockets[0]?.closed);
});

test("a listener is told of each change, and the state stays the same object without one", LIMIT, async () => {
  const { client, sockets, live } = subject();
  await live();
  const before = client.state;
  sockets[0]?.receive({ type: "sync", cursor: "1.5", unread: 0, unseen: 0 });
  assert.equal(client.state, before);
  const told: InboxState[] = [];
  client.subscribe((state) => told.push(state));
  sockets[0]?.receive(CREATED);
  await Promise.resolve();
  assert.deepEqual(told.map(({ unread, items }) => [unread, items.length]), [[1, 1]]);
  sockets[0]?.receive({ ...CREATED, cursor: "1.7", notification: { ...ITEM, archived_at: "2026-11-22T10:00:00Z" } });
  assert.deepEqual(client.state.items, [], "what is archived is not shown");
});

test("a command resolves by its reply, over as many connections as that takes", LIMIT, async () => {
  const { client, sockets, live, until } = subject();
  await live();
  const done = client.readAll("news");
  await Promise.resolve();
  const frame = { type: "read_all", up_to: "1.5", category: "news", ref: "1" };
  assert.deepEqual(sockets[0]?.sent, [frame]);
  sockets[0]?.onclose?.({ code: 1006 });
  await until(() => sockets.length === 2);
  assert.equal(sockets[1]?.url, "wss://tidings.example.com/v1/ws?cursor=1.5&connection_id=con_1");
  sockets[1]?.receive(WELCOME);
  assert.deepEqual(sockets[1]?.sent, [frame]);
  sockets[1]?.receive({ type: "reply", ref: "1", cursor: "1.9" });
  await done;
});

test("a command that the server refuses rejects with its problem, and so does one cut off by close", LIMIT, async () => {
  const { client, sockets, live } = subject();
  await live();
  const [refused, cut] = [client.read("ntf_1"), client.archive("ntf_2")];
  const problem = { type: "not-found", title: "There is nothing here", status: 404, detail: "no such notification" };
  sockets[0]?.receive({ type: "error", ref: "1", problem });
  await assert.rejects(refused, (error: TidingsError) => error.problem?.type === "not-found");
  client.close();
  await assert.rejects(cut, /closed/);
});

test("a refusal of the inbox is told as a failure", LIMIT, async () => {
  const problem = { type: "forbidden", title: "No", status: 403, detail: "not your inbox" };
  const { client, until } = subject(() => Response.json(problem, { status: 403 }));
  client.start();
  await until(({ phase }) => phase === "failed");
  assert.equal(client.state.failure?.problem?.type, "forbidden");
});

test("older items are loaded once, however often they are asked for", LIMIT, async () => {
  let page: object = { ...PAGE, next: "ff" };
  const { client, requests, live } = subject(() => Response.json(page));
  await live();
  page = { ...PAGE, items: [ITEM] };
  await Promise.all([client.loadMore(), client.loadMore()]);
  assert.equal(requests.length, 2);
  assert.match(requests[1]?.[0] ?? "", /before=ff/);
  assert.deepEqual(requests[1]?.[1].headers, { authorization: "Bearer t", "tidings-min-cursor": "1.5" });
  assert.deepEqual([client.state.items.length, client.state.hasMore], [1, false]);
});

test("a listener may ask for the next page as soon as it is told of one", LIMIT, async () => {
  let pages = 0;
  const { client, until, live } = subject(() => {
    pages += 1;
    return Response.json({ ...PAGE, items: [{ ...ITEM, id: `ntf_${pages}` }], next: pages < 5 ? `${pages}` : null });
  });
  client.subscribe(({ hasMore }) => hasMore && void client.loadMore());
  await live();
  await until(({ items }) => items.length === 5);
  assert.equal(client.state.hasMore, false);
});

test("a page that cannot be had rejects, and may be asked for again", LIMIT, async () => {
  let answer = () => Response.json({ ...PAGE, next: "ff" });
  const { client, live } = subject(() => answer());
  await live();
  answer = () => new Response("<html>", { status: 502 });
  await assert.rejects(client.loadMore(), (error: TidingsError) => error.problem?.status === 502);
  assert.ok(client.state.hasMore);
  answer = () => Response.json({ ...PAGE, items: [ITEM] });
  await client.loadMore();
  assert.equal(client.state.items.length, 1);
});

test("what is not JSON ends the connection, and the client comes back", LIMIT, async () => {
  const { sockets, live, until } = subject();
  await live();
  sockets[0]?.onmessage?.({ data: "<html>" });
  assert.ok(sockets[0]?.closed);
  await until(() => sockets.length === 2);
});
