import { PresenceProvider, useEveryone } from "presenced/react";
import { memo } from "react";
import { createRoot } from "react-dom/client";
import { me, root, url } from "./page.js";

const Row = memo(({ id, status }) => (
  <li>
    <span data-status={status} /> {id}
  </li>
));

function Everyone() {
  const users = useEveryone();
  return [...users].map(([id, { status }]) => <Row key={id} id={id} status={status} />);
}

createRoot(root).render(
  <PresenceProvider url={url} userId={me}>
    <Everyone />
  </PresenceProvider>,
);
