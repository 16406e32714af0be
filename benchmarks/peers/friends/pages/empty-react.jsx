// React alone, to know how much of a bundle it is.

import { createRoot } from "react-dom/client";
import { authUrl, friends, me, root, url } from "./page.js";

createRoot(root).render(
  <ul>
    {friends.map((id) => (
      <li key={id}>{`${me} ${url} ${authUrl}`}</li>
    ))}
  </ul>,
);
