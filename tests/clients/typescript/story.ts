// The whole story with the types that openapi-typescript makes of the document, and openapi-fetch.
// Arguments: the service's address, an API key, a user, and that user's token.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

const [baseUrl, key, user, token] = process.argv.slice(2) as [string, string, string, string];
const backend = createClient<paths>({ baseUrl, headers: { "x-api-key": key } });
const alice = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${token}` } });

/** What an answer holds, or the problem thrown. */
async function ok<T>(answer: Promise<{ data?: T; error?: unknown; response: Response }>) {
  const { data, error, response } = await answer;
  if (data === undefined) throw new Error(`${response.status} ${JSON.stringify(error)}`);
  return { data, response };
}

// Create, and repeat it with the same key.
const note: components["schemas"]["CreateNotification"] = {
  user_id: user,
  content: { title: "Your invoice is ready", body: "20 EUR" },
  category: "billing",
  priority: "high",
  data: { invoice: 1042 },
  tags: ["invoice"],
};
const keyed = { header: { "Idempotency-Key": "typescript-1" } };
const created = await ok(backend.POST("/v1/notifications", { body: note, params: keyed }));
const { id } = created.data;
assert.equal(created.response.status, 201);
assert.equal(created.response.headers.get("Tidings-Cursor"), created.data.cursor);
const again = await ok(backend.POST("/v1/notifications", { body: note, params: keyed }));
assert.deepEqual(again.data, created.data);
assert.equal(again.response.headers.get("Idempotent-Replayed"), "true");

// Many at once, one of them wrong.
const plain = (title: string) => ({ user_id: user, content: { title, body: "" } });
const batch = await ok(
  backend.POST("/v1/notifications/batch", { body: { notifications: [plain("two"), plain(""), plain("three")] } }),
);
assert.deepEqual(batch.data.results.map((result) => result.status), [201, 422, 201]);
assert.equal(batch.data.results[1]?.problem?.errors?.[0]?.pointer, "/content/title");
const minCursor = batch.response.headers.get("Tidings-Cursor")!;

// The inbox as its user sees it, with all of that.
const here = { path: { user_id: user } };
const seen = { ...here, header: { "Tidings-Min-Cursor": minCursor } };
const inbox = await ok(alice.GET("/v1/users/{user_id}/inbox", { params: seen }));
assert.equal(inbox.data.unread, 3);
const first = inbox.data.items.find((item) => item.id === id)!;
assert.deepEqual([first.data, first.tags, first.priority], [{ invoice: 1042 }, ["invoice"], "high"]);
assert.ok(Date.parse(first.created_at) <= Date.now());

// Page through it.
const titles: string[] = [];
let before: string | null = null;
do {
  const query: { limit: number; before?: string } = { limit: 1, ...(before === null ? {} : { before }) };
  const page: typeof inbox = await ok(alice.GET("/v1/users/{user_id}/inbox", { params: { ...here, query } }));
  titles.push(...page.data.items.map((item) => item.title));
  before = page.data.next;
} while (before !== null);
assert.deepEqual(titles, ["three", "two", "Your invoice is ready"]);

// Mark one, then all.
const marked = await ok(alice.POST("/v1/notifications/{id}/read", { params: { path: { id } } }));
const header = { "Tidings-Min-Cursor": marked.data.cursor };
const counts = await ok(alice.GET("/v1/users/{user_id}/inbox/counts", { params: { ...here, header } }));
assert.deepEqual([counts.data.unread, counts.data.unseen], [2, 2]);
const rest = await ok(alice.POST("/v1/users/{user_id}/inbox/read-all", { params: here }));
assert.equal(rest.data.marked, 2);

// How it stands, and what happened to it.
const one = await ok(backend.GET("/v1/notifications/{id}", { params: { path: { id } } }));
assert.deepEqual([one.data.status, one.data.deliveries[0]?.channel], ["active", "in_app"]);
const timeline = await ok(backend.GET("/v1/notifications/{id}/events", { params: { path: { id } } }));
assert.equal(timeline.data.events[0]?.type, "notification.created");
const log = await ok(backend.GET("/v1/events", { params: { query: { user_id: user, limit: 2 } } }));
// A text is what `Accept: application/x-ndjson` gets.
assert.ok(typeof log.data !== "string" && log.data.events.length === 2);

// Problems.
const refused = await backend.POST("/v1/notifications", { body: plain("") });
assert.equal(refused.response.status, 422);
const problem: components["schemas"]["Problem"] = refused.error!;
assert.deepEqual([problem.type, problem.status], ["invalid-request", 422]);
assert.equal(problem.errors?.[0]?.pointer, "/content/title");
const foreign = await alice.GET("/v1/notifications/{id}", { params: { path: { id } } });
assert.deepEqual([foreign.response.status, foreign.error?.type], [403, "forbidden"]);

console.log("told");
