import { OnlineDot, PresenceProvider } from "presenced/react";
import { createRoot } from "react-dom/client";
import { friends, me, root, url } from "./page.js";

createRoot(root).render(
  <PresenceProvider url={url} userId={me}>
    <ul>
      {friends.map((id) => (
        <li key={id}>
          <OnlineDot userId={id} /> {id}
        </li>
      ))}
    </ul>
  </PresenceProvider>,
);
