// What goes over the wire: items, pages, problems and the frames of the socket `tidings.v1`.
//
// Members are named as the server names them. A type or a member that is not here may still arrive: a newer server
// knows more, and a client passes over what it does not know.

/** An item of the inbox. Instants are RFC 3339 in UTC; a member that is not there is not set. */
export interface InboxItem {
  readonly id: string;
  readonly title: string;
  readonly body: string;
  readonly action_url?: string;
  readonly category?: string;
  /** `low`, `normal`, `high` or `urgent`; others may be added. */
  readonly priority?: string;
  readonly data?: unknown;
  readonly tags?: readonly string[];
  readonly created_at: string;
  readonly seen_at?: string;
  readonly read_at?: string;
  readonly archived_at?: string;
  readonly snoozed_until?: string;
  /** Its last change. */
  readonly cursor: string;
}

/** A page of `GET /v1/users/{user_id}/inbox`, newest first. Items and counts hold at `cursor`. */
export interface InboxPage {
  readonly items: readonly InboxItem[];
  /** Where the next page goes on; null at the end. */
  readonly next: string | null;
  readonly unread: number;
  readonly unseen: number;
  readonly cursor: string;
}

/** What went wrong (RFC 9457). `type` is a stable slug to program against. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly errors?: readonly { readonly pointer: string; readonly detail: string }[];
}

/** "You have everything up to `cursor`, and these counts hold there." */
export interface Standing {
  readonly cursor: string;
  readonly unread: number;
  readonly unseen: number;
}

export interface WelcomeFrame extends Standing {
  readonly type: "welcome";
  readonly connection_id: string;
  readonly user_id: string;
  /** Whether what was missed since the presented cursor follows. */
  readonly resumed: boolean;
  readonly heartbeat_ms: number;
}

export interface EventFrame extends Standing {
  readonly type: "event";
  readonly event: string;
  /** The whole item after the change. */
  readonly notification: InboxItem;
}

export interface SyncFrame extends Standing {
  readonly type: "sync";
}

export interface ResetFrame extends Standing {
  readonly type: "reset";
  readonly reason: string;
}

export type ServerFrame =
  | WelcomeFrame
  | EventFrame
  | SyncFrame
  | ResetFrame
  | { readonly type: "token_expiring"; readonly expires_at: string }
  | { readonly type: "reply"; readonly ref: string; readonly cursor: string }
  | { readonly type: "error"; readonly ref?: string; readonly problem: Problem }
  | { readonly type: "closing"; readonly code: number; readonly retry_in_ms?: number };

/** A command, without the `ref` under which it is sent. */
export type Command =
  | { readonly type: "read" | "unread" | "seen" | "archive" | "unarchive"; readonly id: string }
  | { readonly type: "snooze"; readonly id: string; readonly until: string }
  | {
      readonly type: "read_all" | "seen_all" | "archive_all";
      readonly up_to: string;
      readonly category?: string;
    };

export type ClientFrame =
  | (Command & { readonly ref: string })
  | { readonly type: "auth"; readonly token: string; readonly ref: string }
  | { readonly type: "ack"; readonly cursor: string };

export const SUBPROTOCOL = "tidings.v1";

/** Close codes that this client sends or tells apart. From 4500 on it must not come back by itself. */
export const CLOSE = { normal: 1000, notText: 1007, tokenExpired: 4003, unauthorized: 4500 } as const;
