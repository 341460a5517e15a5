// What users of the package see.

export { TidingsClient, TidingsError } from "./client.js";
export type { InboxState, Options, SocketLike } from "./client.js";
export type { Failure, Phase } from "./machine.js";
export type { InboxItem, Problem } from "./protocol.js";
