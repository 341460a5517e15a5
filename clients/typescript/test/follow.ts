// A client that a test outside drives: one order per line of JSON on standard input, one answer per line on standard
// output. It follows a user's inbox on a real service, over connections that the test cuts without a goodbye.
//
//   {"cut": true}                          destroys the connection, if there is one
//   {"call": "read", "with": ["ntf_..."]}  a command of the client; answered by {"done": "read"} or {"refused": ...}
//   {"expect": {items, unread, unseen}}    answered by {"equal": true} once the client shows exactly that

import { isDeepStrictEqual } from "node:util";
import { createInterface } from "node:readline";
import { WebSocket } from "ws";

import { TidingsClient, type InboxState } from "../src/index.js";

type Call = "read" | "unread" | "seen" | "archive" | "unarchive" | "readAll" | "seenAll" | "archiveAll";
type Order =
  | { readonly cut: true }
  | { readonly call: Call; readonly with: readonly string[] }
  | { readonly expect: Pick<InboxState, "items" | "unread" | "unseen"> };

const [url = "", userId = "", token = ""] = process.argv.slice(2);
let socket: WebSocket | undefined;

const client = new TidingsClient({
  url,
  userId,
  getToken: () => token,
  openSocket: (address, protocols) => (socket = new WebSocket(address, protocols)),
  // The test cuts far more often than a network does, and is in a hurry.
  random: () => Math.random() / 10,
});

function say(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

function call(name: Call, args: readonly string[]): Promise<void> {
  switch (name) {
    case "readAll":
    case "seenAll":
    case "archiveAll":
      return client[name](args[0]);
    default:
      return client[name](args[0] ?? "");
  }
}

function obey(order: Order): void {
  if ("cut" in order) socket?.terminate();
  else if ("call" in order) {
    const done = () => say({ done: order.call });
    call(order.call, order.with).then(done, (error) => say({ refused: error.problem ?? error.message }));
  } else expect(order.expect);
}

function expect(expected: Pick<InboxState, "items" | "unread" | "unseen">): void {
  const isEqual = ({ items, unread, unseen }: InboxState) => isDeepStrictEqual({ items, unread, unseen }, expected);
  let isOver = false;
  const look = (state: InboxState): void => {
    if (isOver) return;
    const again = () => look(client.state);
    if (state.hasMore) client.loadMore().then(again, again);
    else if (isEqual(state)) {
      isOver = true;
      end();
      say({ equal: true });
    }
  };
  const end = client.subscribe(look);
  look(client.state);
}

client.subscribe(({ phase, failure }) => {
  if (phase === "failed") say({ failed: failure });
});
client.start();
const orders = createInterface({ input: process.stdin });
orders.on("line", (line) => obey(JSON.parse(line)));
// The end of the orders is the end of the client. Before it goes it shows where it stood, for whoever waited in vain.
orders.on("close", () => {
  client.close();
  const { items, ...rest } = client.state;
  say({ ...rest, items });
});
