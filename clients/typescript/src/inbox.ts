// The inbox as this client knows it: a fold of one page and the frames after it.
//
// What is known stays in the server's order, archived and snoozed items too: an item that comes back to the list
// comes back to its place. Counts are never computed here; they are the last ones the server told.

import type { EventFrame, InboxItem, InboxPage, Standing } from "./protocol.js";

export interface Inbox {
  /** Newest first, in whatever state. */
  readonly items: readonly InboxItem[];
  /** Where older items go on; null when all are here. */
  readonly next: string | null;
  readonly unread: number;
  readonly unseen: number;
  /** Where to resume. Null after a reset: what is shown is stale and will be replaced. */
  readonly cursor: string | null;
}

/** What was told while a page was on its way: the last event of each item, by id. */
export type Changed = ReadonlyMap<string, EventFrame>;

export const EMPTY: Inbox = { items: [], next: null, unread: 0, unseen: 0, cursor: null };

export function isActive(item: InboxItem): boolean {
  return item.archived_at === undefined && item.snoozed_until === undefined;
}

export function fromPage({ items, next, unread, unseen, cursor }: InboxPage): Inbox {
  return { items, next: next ?? null, unread, unseen, cursor };
}

export function standAt(inbox: Inbox, { cursor, unread, unseen }: Standing): Inbox {
  return { ...inbox, cursor, unread, unseen };
}

/** One change. `notification` is the whole item, so it replaces what was there, down to the members it lacks. */
export function apply(inbox: Inbox, frame: EventFrame): Inbox {
  return { ...standAt(inbox, frame), items: place(inbox.items, frame) };
}

/**
 * The next page of older items. What frames said while it was on its way wins over what it says: the page may have
 * been read before them. Where it was read after them, the frames that it knows more than are still to come.
 */
export function append(inbox: Inbox, page: InboxPage, changed: Changed): Inbox {
  const older = page.items.flatMap((item) => {
    const event = changed.get(item.id);
    if (event !== undefined && isEnd(event)) return [];
    return [event?.notification ?? item];
  });
  const inPage = new Set(page.items.map((item) => item.id));
  const newer = inbox.items.filter((item) => !inPage.has(item.id));
  return { ...inbox, items: [...newer, ...older], next: page.next ?? null };
}

function place(items: readonly InboxItem[], frame: EventFrame): readonly InboxItem[] {
  const item = frame.notification;
  const isKnown = items.some((known) => known.id === item.id);
  if (isEnd(frame)) return items.filter((known) => known.id !== item.id);
  if (isKnown) return items.map((known) => (known.id === item.id ? item : known));
  switch (frame.event) {
    case "notification.created":
    case "notification.released":
      return [item, ...items];
    case "notification.unarchived":
    case "notification.woken": {
      // Neither the list nor a page to come need have it. Its exact place is not told; its age is close.
      const isNewer = (known: InboxItem) => Date.parse(known.created_at) > Date.parse(item.created_at);
      return [...items.filter(isNewer), item, ...items.filter((known) => !isNewer(known))];
    }
    default:
      // It is older than what is loaded, and comes with its page.
      return items;
  }
}

/** The item is gone; the frame shows it for the last time. */
function isEnd({ event }: EventFrame): boolean {
  return event === "notification.cancelled" || event === "notification.expired";
}
