import { OnlineDot, PresenceProvider, useEveryone } from "presenced/react";
import { memo } from "react";
import { createRoot } from "react-dom/client";
import { me, root, url } from "./page.js";

const sameIds = (some, others) => some.length === others.length && some.every((id, index) => id === others[index]);

const Row = memo(({ id }) => (
  <li>
    <OnlineDot userId={id} /> {id}
  </li>
));

function Everyone() {
  const ids = useEveryone((users) => [...users.keys()], sameIds);
  return ids.map((id) => <Row key={id} id={id} />);
}

createRoot(root).render(
  <PresenceProvider url={url} userId={me}>
    <Everyone />
  </PresenceProvider>,
);
