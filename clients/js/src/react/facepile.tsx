"use client";

import type { HTMLAttributes, ReactNode } from "react";
import type { Presence, UserId } from "../presence.js";
import { counted, type Labels, nameOf } from "./labels.js";
import { usePresence } from "./presence.js";
import { usePresences } from "./presences.js";
import { useLabels } from "./provider.js";
import { useRoom } from "./room.js";

interface PileProps extends Omit<HTMLAttributes<HTMLSpanElement>, "children"> {
  /** How many people to show; default 5. */
  max?: number;
  labels?: Partial<Labels>;
  /** Returns the face of a user, such as a picture; default: initials. */
  children?: (presence: Presence) => ReactNode;
}

export type FacepileProps = PileProps &
  ({ room: string; userIds?: never } | { userIds: Iterable<UserId>; room?: never });

/** The people of a room, or those of `userIds` who are online, and how many more there are. */
export function Facepile({ room, userIds, ...rest }: FacepileProps): ReactNode {
  return room === undefined ? <Users ids={userIds} {...rest} /> : <Members name={room} {...rest} />;
}

function Members({ name, ...rest }: PileProps & { name: string }): ReactNode {
  const { members, count } = useRoom(name); // a large room has a count, and no members
  return <Pile ids={[...members.keys()]} count={count} {...rest} />;
}

function Users({ ids, ...rest }: PileProps & { ids: Iterable<UserId> }): ReactNode {
  const online: string[] = JSON.parse(usePresences(ids, keysOfOnline));
  return <Pile ids={online} count={online.length} {...rest} />;
}

function Pile({
  ids,
  count,
  max = 5,
  labels,
  children,
  className = "",
  ...rest
}: PileProps & { ids: readonly string[]; count: number }): ReactNode {
  const texts = useLabels(labels);
  const shown = ids.slice(0, max);
  const more = count - shown.length;
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for controls
    <span role="group" aria-label={counted(texts.count, count)} {...rest} className={`presenced-facepile ${className}`}>
      {shown.map((id) => (
        <Face key={id} id={id} texts={texts} face={children} />
      ))}
      {more > 0 && <span className="presenced-more">{counted(texts.more, more)}</span>}
    </span>
  );
}

function Face({ id, texts, face = initials }: { id: string; texts: Labels; face: PileProps["children"] }): ReactNode {
  const presence = usePresence(id);
  const { status } = presence;
  return (
    <span
      className="presenced-face"
      data-status={status}
      role="img"
      aria-label={`${nameOf(presence)}, ${texts[status]}`}
    >
      {face(presence)}
    </span>
  );
}

function initials(presence: Presence): string {
  const words = nameOf(presence).split(/\s+/, 2);
  return words.map((word) => [...word][0]).join(""); // by characters, not by halves of surrogate pairs
}

/** Return the keys as text, which is equal as long as the same users are online. */
function keysOfOnline(all: ReadonlyMap<string, Presence>): string {
  return JSON.stringify([...all].filter(([, presence]) => presence.online).map(([key]) => key));
}
